"""How fast images reach the model: this project's store, the article's HDF5 file, torchvision's ImageFolder.

    make bench-data        or        python benchmarks/data_loading.py --help

The figure is images per CPU-second: images divided by user + system time of this process and its workers, median of
interleaved rounds. All cases run in one process, and again with two workers, whose hand-over through shared memory
costs fast loaders more than slow ones; a goal is met only when it is met both ways. Task F gives a float32 batch after
RandomResizedCrop(300), flip, ColorJitter(.2, .2, .2) and Normalize; task U a uint8 batch after crop and flip. F is
compared with F, U with U.
"""

import argparse
import datetime
import gc
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pandas as pd
import psutil
import simplejpeg
import torch
from loading_peers import (
    ARTICLE_SIDE,
    BATCH_SIZE,
    ArticleDataset,
    Batches,
    build_article,
    dali_batches,
    plain_batches,
    read_image,
    store_batches,
    v1_transform,
    v2_transform,
)
from torchvision import datasets

from eightgig.core.errors import StoreError
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest
from eightgig.data.store.reader import ImageStore, write_store
from eightgig.data.store.rules import Tier

NUM_DAMAGES = 300
RESULTS = Path(__file__).parent / "results"

# goal, numerator, denominator, at least
SPEED_GOALS = (
    ("against the article's HDF5, F", "store F", "article F", 100.0),
    ("against the article's HDF5, U", "store U", "article U", 150.0),
    ("against ImageFolder v1, F", "store F", "ImageFolder v1 F", 2.0),
    ("against ImageFolder v1, U", "store U", "ImageFolder v1 U", 1.5),
    ("against ImageFolder v2, U", "store U", "ImageFolder v2 U", 1.5),
    ("decoded tier against ImageFolder v1, U", "decoded U", "ImageFolder v1 U", 5.0),
    ("decoded tier against ImageFolder v2, U", "decoded U", "ImageFolder v2 U", 5.0),
    ("against FFCV, U", "store U", "FFCV U", 1.0),
    ("against DALI on the CPU, U", "store U", "DALI U", 1.2),
)


def build_store(folder: Path, path: Path, *, short_side: int | None = None, tier: Tier = "jpeg") -> None:
    """Write this project's store from a manifest that is already there."""
    classes = scan_class_folders(folder).classes
    manifest = pd.read_pickle(folder.with_suffix(".manifest"))  # noqa: S301  made here
    write_store(path, manifest, folder, classes, short_side=short_side, tier=tier, decoded_side=ARTICLE_SIDE)


BUILDS: dict[str, Callable[[Path, Path], None]] = {
    "article": build_article,
    "store": build_store,
    "small": lambda folder, path: build_store(folder, path, short_side=320),
    "decoded": lambda folder, path: build_store(folder, path, tier="decoded"),
    "manifest": lambda folder, path: make_manifest(folder).to_pickle(path),
}


def make_manifest(folder: Path) -> pd.DataFrame:
    """Inspect every image, as ingest does."""
    return build_manifest(scan_class_folders(folder), DataParameters(root=str(folder)))[0]


def measure_build(name: str, folder: Path, path: Path) -> dict[str, float]:
    """Build in a process of its own; give its CPU seconds and how much its memory grew, MiB."""
    arguments = [sys.executable, __file__, "--build", name, str(folder), str(path)]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return dict(json.loads(output), file_bytes=path.stat().st_size)


def run_build(name: str, folder: Path, path: Path) -> None:
    """Be that process."""
    simplejpeg.decode_jpeg(next(folder.rglob("*.jpg")).read_bytes())
    process, ended, peaks = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(0.02):
            peaks.append(process.memory_info().rss)

    resident, cpu = process.memory_info().rss, time.process_time()
    watcher = threading.Thread(target=watch)
    watcher.start()
    BUILDS[name](folder, path)
    cpu_s = time.process_time() - cpu
    ended.set()
    watcher.join()
    print(json.dumps({"cpu_s": cpu_s, "growth_mib": (max(peaks) - resident) / 2**20}))


def draw_photos(folder: Path, num_images: int) -> None:
    """Write JPEGs of 500 x 400, quality 90, about 77 KB, with the spectrum of photos: detail falls with frequency."""
    rng = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(400)[:, None], np.fft.rfftfreq(500)[None]
    falloff = np.maximum(np.hypot(rows, columns), 1 / 500) ** 1.32
    for number in range(num_images):
        noise = rng.normal(size=(4, 2, *falloff.shape))
        planes = np.fft.irfft2((noise[:, 0] + 1j * noise[:, 1]) / falloff, (400, 500))
        planes /= planes.std(axis=(1, 2), keepdims=True)
        pixels = np.clip(128 + 40 * (planes[0] + 0.6 * planes[1:]), 0, 255).astype(np.uint8)
        path = folder / f"class_{number % 5}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image_HWC = np.ascontiguousarray(pixels.transpose(1, 2, 0))
        path.write_bytes(simplejpeg.encode_jpeg(image_HWC, quality=90, colorsubsampling="420"))


def enlarge_photos(root: Path, folder: Path, num_images: int) -> None:
    """Write the photos below `root` at 500 x 400, quality 90, again and again mirrored until there are enough."""
    scan = scan_class_folders(root)
    for number in range(num_images):
        name, label = scan.files[number % len(scan.files)]
        image_HWC = cv2.resize(read_image(root / name), (500, 400), interpolation=cv2.INTER_CUBIC)
        shifted_HWC = np.roll(image_HWC, 7 * (number // len(scan.files)), axis=1)
        path = folder / scan.classes[label] / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), shifted_HWC, [cv2.IMWRITE_JPEG_QUALITY, 90])


def cpu_seconds() -> float:
    """User and system time of this process and of its workers."""
    process = psutil.Process()
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def images_per_cpu_second(batches: Batches, num_images: int) -> float:
    """Warm up, so that the workers are there, then count the time of one run through the images."""
    exhaust(batches(num_images // 8))
    start = cpu_seconds()
    exhaust(batches(num_images))
    return num_images / (cpu_seconds() - start)


def exhaust(batches: Iterable[object]) -> None:
    """Take every batch and drop it."""
    for _ in batches:
        pass


@dataclass(frozen=True)
class Case:
    """One way to load: its name without and with workers, and how many images tell enough."""

    name: str
    num_workers: int
    make: Callable[[], Batches]
    num_images: int

    @property
    def label(self) -> str:
        """Name the case in tables."""
        return f"{self.name}, {self.num_workers} workers"


def make_cases(work: Path, number: int, workers: int) -> Iterator[Case]:
    """Yield each case that can run here."""
    photos = work / "photos"
    for task in ("F", "U"):
        for version, transform in (("v1", v1_transform(task)), ("v2", v2_transform(task))):
            folder = datasets.ImageFolder(str(photos), transform)
            yield Case(f"ImageFolder {version} {task}", workers, partial(plain_batches, folder, workers), number)
        article = ArticleDataset(work / "article.h5", v1_transform(task))
        few = min(number, BATCH_SIZE)  # a third of a second each
        yield Case(f"article {task}", workers, partial(plain_batches, article, workers), few)
        for name in ("store", "small", "decoded"):
            store = ImageStore(work / f"{name}.h5")
            yield Case(f"{name} {task}", workers, partial(store_batches, store, task, workers), number)
    if find_spec("nvidia") and find_spec("nvidia.dali"):  # it works in threads of its own
        yield Case("DALI U", workers, partial(dali_batches, photos), number)


def count_detected_damages(store_path: Path) -> int:
    """Change one byte of the image data at a time, `NUM_DAMAGES` times; count how often reading it fails."""
    store, rng, num_detected = ImageStore(store_path), np.random.default_rng(0), 0
    with h5py.File(store_path, "r") as file:
        start, num_bytes = file["jpeg"].id.get_offset(), file["jpeg"].size
        offsets = file["offsets"][...]
    with store_path.open("r+b", buffering=0) as file:
        for position in rng.integers(num_bytes, size=NUM_DAMAGES).tolist():
            file.seek(start + position)
            original = file.read(1)
            for content in (bytes([original[0] ^ 1 << int(rng.integers(8))]), original):
                file.seek(start + position)
                file.write(content)
                try:
                    store.decode(int(np.searchsorted(offsets, position, "right")) - 1)
                except StoreError:
                    num_detected += 1
    return num_detected


def judge_speed(medians: dict[str, float], worker_counts: list[int]) -> list[dict[str, object]]:
    """Compare the medians with the goals; a case that did not run is a row that says so."""
    rows: list[dict[str, object]] = []
    for goal, ours, theirs, bar in SPEED_GOALS:
        row: dict[str, object] = {"goal": goal, "wanted": f">= {bar:g}x"}
        pairs = [(f"{ours}, {count} workers", f"{theirs}, {count} workers") for count in worker_counts]
        if all(other in medians for _, other in pairs):
            ratios = [medians[own] / medians[other] for own, other in pairs]
            found = "; ".join(f"{r:.2f}x ({c} workers)" for r, c in zip(ratios, worker_counts, strict=True))
            rows.append({**row, "found": found, "met": min(ratios) >= bar})
        else:
            rows.append({**row, "found": f"not measured: {theirs.split()[0]} is not installed", "met": None})
    return rows


def judge_builds(builds: dict[str, dict[str, float]], source_bytes: int, num_detected: int) -> list[dict[str, object]]:
    """Compare size, memory and effort of building with the goals."""
    jpeg, decoded = (builds[name]["file_bytes"] / source_bytes for name in ("store", "decoded"))
    growth = builds["store"]["growth_mib"]
    effort = builds["article"]["cpu_s"] / builds["store"]["cpu_s"]
    return [
        {"goal": "disk: JPEG tier / files", "wanted": "<= 1.005", "found": f"{jpeg:.4f}", "met": jpeg <= 1.005},
        {"goal": "disk: decoded tier / files", "wanted": "<= 4.1", "found": f"{decoded:.2f}", "met": decoded <= 4.1},
        {"goal": "build: memory", "wanted": "<= +50 MB", "found": f"+{growth:.0f} MiB", "met": growth <= 47},
        {"goal": "build: CPU, article / store", "wanted": ">= 30x", "found": f"{effort:.0f}x", "met": effort >= 30},
        {
            "goal": "damaged bytes detected",
            "wanted": f"{NUM_DAMAGES} of {NUM_DAMAGES}",
            "found": f"{num_detected} of {NUM_DAMAGES}",
            "met": num_detected == NUM_DAMAGES,
        },
    ]


def cpu_name() -> str:
    """Return the processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else []
    return names[0].strip() if names else platform.processor() or platform.machine()


def measure_rounds(work: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Run every case once a round, so that a busy moment of the machine does not fall on one case alone."""
    number = min(options.images_per_round, options.num_images)
    cases = [case for count in options.workers for case in make_cases(work, number, count)]
    speeds: dict[str, list[float]] = {case.label: [] for case in cases}
    for round_number in range(1, options.rounds + 1):
        for case in cases:
            speeds[case.label].append(images_per_cpu_second(case.make(), case.num_images))
            gc.collect()  # ends the workers
            print(f"round {round_number}: {case.label:30s} {speeds[case.label][-1]:8.1f} images / CPU-s", flush=True)
    return speeds


def measure(options: argparse.Namespace, work: Path) -> dict[str, object]:
    """Prepare the files, measure, judge."""
    photos = work / "photos"
    if options.root:
        enlarge_photos(options.root, photos, options.num_images)
    else:
        draw_photos(photos, options.num_images)
    source_bytes = sum(path.stat().st_size for path in photos.rglob("*.jpg"))
    print(f"{options.num_images} JPEGs, {source_bytes / options.num_images / 1024:.1f} KiB each", flush=True)
    builds = {"manifest": measure_build("manifest", photos, photos.with_suffix(".manifest"))}
    for name in ("store", "small", "decoded", "article"):
        builds[name] = measure_build(name, photos, work / f"{name}.h5")
        print(f"build {name}: {builds[name]}", flush=True)
    speeds = measure_rounds(work, options)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    rows = judge_speed(medians, options.workers) + judge_builds(
        builds, source_bytes, count_detected_damages(work / "store.h5")
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": cpu_name(),
        "num_cores": os.cpu_count(),
        "versions": {name: metadata.version(name) for name in ("torch", "torchvision", "h5py", "pillow", "simplejpeg")},
        "num_images": options.num_images,
        "images_per_round": min(options.images_per_round, options.num_images),
        "rounds": options.rounds,
        "load_average_at_end": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "worker_counts": options.workers,
        "photos": "enlarged real photos" if options.root else "drawn",
        "bytes_per_image": source_bytes / options.num_images,
        "images_per_cpu_second": {name: round(value, 2) for name, value in medians.items()},
        "rounds_images_per_cpu_second": speeds,
        "builds": builds,
        "goals": rows,
    }


def print_table(result: dict[str, Any]) -> None:
    """Show the medians and the goals."""
    for name, speed in result["images_per_cpu_second"].items():
        print(f"{name:30s} {speed:9.1f} images / CPU-second")
    verdicts = {True: "met", False: "NOT MET", None: "-"}
    for row in result["goals"]:
        print(f"{row['goal']:42s} {row['wanted']:12s} {row['found']:42s} {verdicts[row['met']]}")


def main() -> None:
    """Read the options, measure, keep and show the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, default=3000, help="images in the data set")
    parser.add_argument("--images-per-round", type=int, default=750, help="images loaded by each case in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="each is measured")
    parser.add_argument("--root", type=Path, help="class folders of photos to enlarge, instead of drawn ones")
    parser.add_argument("--build", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    if options.build:
        run_build(options.build[0], Path(options.build[1]), Path(options.build[2]))
        return
    with tempfile.TemporaryDirectory(prefix="bench-data-") as work:
        result = measure(options, Path(work))
    slug = re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")
    (RESULTS / f"data_loading-{slug}.json").write_text(json.dumps(result, indent=2) + "\n")
    print_table(result)


if __name__ == "__main__":
    main()
