"""Images in tiles: peak memory by the image's size, and throughput beside that of the bare network on the same tiles.

    python benchmarks/tiles.py memory        or        ... speed --model unet --device cuda        (--help)

memory: a striped TIFF of each size through a stand-in for a network of 19 classes, with the mask written as PNG; each
size in a process of its own, whose peak resident memory the kernel tells (VmHWM: Linux). The stand-in costs next to no
memory, so that growth of the tiler would show. speed: a TIFF through the network, the mask and the overlay written,
in turn with the network alone on the same tiles, which are in memory already and whose logits come back to the CPU.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eightgig.data.ingest.class_table import colours_of
from eightgig.tasks.segmentation.tiled.masks import RunMasks, blend_masks
from eightgig.tiles.grid import Grid
from eightgig.tiles.overlay import Overlay
from eightgig.tiles.png import open_mask_png
from eightgig.tiles.records import StageTimer
from eightgig.tiles.source import open_source

NUM_CLASSES = 19
SLANTS = ((0.31, 0.17), (0.07, 0.43), (0.53, 0.05))
COLOURS = colours_of([f"class {number}" for number in range(NUM_CLASSES)])
GOALS = {"growth of memory from the smallest to the largest image": 0.10, "slower than the bare network": 0.15}


def write_image(folder: Path, side: int) -> Path:
    """Write an RGB image of slanted waves: a TIFF in strips, never whole in memory; a PNG where pyvips is not."""
    try:
        import pyvips
    except ImportError:
        return _write_png(folder / "image.png", side)
    path = folder / "image.tif"
    places = pyvips.Image.xyz(side, side)
    bands = [(places[0] * a + places[1] * b) % 256 for a, b in SLANTS]
    image = bands[0].bandjoin(bands[1:]).cast("uchar").copy(interpretation="srgb")
    image.tiffsave(str(path), compression="lzw", predictor="horizontal", bigtiff=True)
    return path


def _write_png(path: Path, side: int) -> Path:
    import cv2

    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    waves = [(columns * a + rows * b) % 256 for a, b in SLANTS]
    cv2.imwrite(str(path), np.stack(waves[::-1], axis=-1).astype(np.uint8))  # OpenCV writes BGR
    return path


def stand_in(images_N3HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return logits by green alone."""
    green_NHW = images_N3HW[:, 1].astype(np.float32) * (NUM_CLASSES / 256)
    logits_NKHW = np.empty((len(green_NHW), NUM_CLASSES, *green_NHW.shape[1:]), dtype=np.float32)
    for label in range(NUM_CLASSES):
        np.subtract(green_NHW, label + 0.5, out=logits_NKHW[:, label])
        np.abs(logits_NKHW[:, label], out=logits_NKHW[:, label])
    return np.negative(logits_NKHW, out=logits_NKHW)


def peak_mib() -> float:
    """Return the largest resident memory that this process had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def blend_file(path: Path, run: RunMasks, folder: Path, arguments: argparse.Namespace, overlay_px: int) -> StageTimer:
    """Go through a file as the stage does: rows read, mask and overlay made."""
    clock = StageTimer()
    with open_source(path, max_pixels=2**40) as source:
        width, height = source.width, source.height
        overlay = Overlay(width, height, COLOURS, longest_px=overlay_px, opacity=0.5)
        with open_mask_png(folder / "mask.png", width, height, COLOURS) as png:

            def take(_top: int, rows_RWC: npt.NDArray[np.uint8], labels_RW: npt.NDArray[np.uint8]) -> None:
                png.write(labels_RW)
                if overlay_px > 1:
                    overlay.add(rows_RWC, labels_RW)

            grid = Grid(height, width, arguments.tile, arguments.overlap)
            how = {"num_classes": NUM_CLASSES, "grid": grid, "batch": arguments.batch}
            blend_masks(source, run, on_rows=take, scratch=folder, clock=clock, **how)
    return clock


def measure_memory(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the peak of each size, one process after the other."""
    rows = []
    for side in arguments.sides:
        path = write_image(folder, side)
        cuts = [f"--{name}={getattr(arguments, name)}" for name in ("tile", "overlap", "batch")]
        command = [sys.executable, __file__, "memory", *cuts, "--path", str(path)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        rows.append({"side_px": side, **json.loads(answer.stdout)})
        path.unlink()
    peaks = [row["peak_mib"] for row in rows]
    return {"sizes": rows, "growth": round(max(peaks) / peaks[0] - 1, 4)}


def measure_one(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the peak of this process after one image."""
    begun, before = time.perf_counter(), peak_mib()
    clock = blend_file(arguments.path, stand_in, folder, arguments, overlay_px=1)
    seconds = {name: round(value, 2) for name, value in clock.seconds.items()}
    taken = round(time.perf_counter() - begun, 2)
    return {"before_mib": round(before, 1), "peak_mib": round(peak_mib(), 1), "seconds": taken, "stages_s": seconds}


def build_run(arguments: argparse.Namespace) -> RunMasks:
    """Return the network with random weights as a function."""
    import torch

    from eightgig.tasks.segmentation.unet import build_unet

    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    dtype = torch.float16 if arguments.device == "cuda" else torch.float32
    module = build_unet(arguments.model, num_classes=NUM_CLASSES).eval().to(arguments.device, dtype)

    @torch.inference_mode()
    def run(images_N3HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        images = torch.from_numpy(images_N3HW).to(arguments.device).to(dtype) / 255
        logits_NKHW: npt.NDArray[np.float32] = module(images).float().cpu().numpy()
        return logits_NKHW

    return run


def tiles_of(path: Path, arguments: argparse.Namespace, folder: Path) -> list[npt.NDArray[np.uint8]]:
    """Return the batches that the tiler makes of a file."""
    batches: list[npt.NDArray[np.uint8]] = []

    def keep(images_N3HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        batches.append(images_N3HW)
        return stand_in(images_N3HW)

    blend_file(path, keep, folder, arguments, overlay_px=1)
    return batches


def seconds_of(work: Callable[[], Any]) -> float:
    """Return how long `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure_speed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return megapixels a second of both, each the median of rounds in turn."""
    side, run = arguments.side, build_run(arguments)
    path = write_image(folder, side)
    batches = tiles_of(path, arguments, folder)
    run(batches[0])
    bare, tiled, clock = [], [], StageTimer()
    for _ in range(arguments.rounds):
        bare.append(seconds_of(lambda: [run(batch) for batch in batches]))
        begun = time.perf_counter()
        clock = blend_file(path, run, folder, arguments, overlay_px=4096)
        tiled.append(time.perf_counter() - begun)
    bare_s, tiled_s = statistics.median(bare), statistics.median(tiled)
    return {
        "model": arguments.model,
        "threads": arguments.threads,
        "side_px": side,
        "num_tiles": sum(map(len, batches)),
        "useful_share": round(Grid(side, side, arguments.tile, arguments.overlap).useful_share, 3),
        "bare_seconds": [round(value, 3) for value in bare],
        "tiled_seconds": [round(value, 3) for value in tiled],
        "tiled_megapixels_per_second": round(side**2 / 1e6 / tiled_s, 3),
        "slower": round(tiled_s / bare_s - 1, 4),
        "last_stages_s": {name: round(value, 3) for name, value in clock.seconds.items()},
    }


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "speed"))
    parser.add_argument("--sides", type=int, nargs="+", default=[4096, 8192, 16384], help="memory: images, pixels")
    parser.add_argument("--path", type=Path, help="memory: this file alone, in this process")
    parser.add_argument("--side", type=int, default=1856, help="speed: the image, pixels")
    parser.add_argument("--model", default="unet_x0_25", help="speed: as `tasks/segmentation/unet.py` names them")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="speed: of torch on the CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    return parser.parse_args()


def main() -> None:
    """Measure, and print JSON."""
    arguments = read_arguments()
    with tempfile.TemporaryDirectory() as name:
        if arguments.path:
            print(json.dumps(measure_one(arguments, Path(name))))
            return
        found = (measure_memory if arguments.what == "memory" else measure_speed)(arguments, Path(name))
    from eightgig.core.device import describe_device

    cut = {"tile": arguments.tile, "overlap": arguments.overlap, "batch": arguments.batch, "classes": NUM_CLASSES}
    head = {"date": datetime.now(UTC).date().isoformat(), "device": describe_device(arguments.device), "goals": GOALS}
    print(json.dumps({**head, **cut, **found}, indent=2))


if __name__ == "__main__":
    main()
