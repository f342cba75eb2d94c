"""A synthetic video through YOLOv5 in ONNX Runtime, the stages overlapped and one after the other, in turn.

    make bench-video        or        python benchmarks/video.py --help

Weights are random, and the confidence is chosen so that about ten boxes a frame are found, drawn and written: speed
does not depend on what they are. The longest run tells whether memory grows: resident memory after frame 100 against
that at the end. Shares of stages are those of the plain loop, where no stage waits for a core that another has.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from eightgig.core.device import DeviceKind, describe_device
from eightgig.export.runners import Runner
from eightgig.export.torch_runner import TorchRunner
from eightgig.tasks.detection.model import WithDecode, YoloV5, build_yolov5
from eightgig.tasks.detection.video.parameters import VideoParameters
from eightgig.tasks.detection.video.pipeline import detect_video
from eightgig.tasks.detection.video.records import VideoReport
from eightgig.tasks.detection.video.source import open_source

NUM_CLASSES = 5
BOXES_A_FRAME = 10
GOALS = {"speed-up by overlapping": 1.2, "share of pre- and post-processing at 640": 0.15, "growth of memory": 0.05}


def paint_video(path: Path, num_frames: int, size: tuple[int, int]) -> None:
    """Write discs that move over a ground of soft noise."""
    rng = np.random.default_rng(0)
    noise_HWC = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    ground_HWC = cv2.resize(noise_HWC, size, interpolation=cv2.INTER_CUBIC)
    starts, speeds, colours = (rng.integers(low, 200, (12, 3)) for low in (0, 1, 30))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, size)
    for index in range(num_frames):
        frame_HWC = ground_HWC.copy()
        for start, speed, colour in zip(starts, speeds % 9 - 4, colours, strict=True):
            centre = (start * 6 + speed * index)[:2] % size
            cv2.circle(frame_HWC, centre.tolist(), int(20 + start[2] // 3), colour.tolist(), cv2.FILLED, cv2.LINE_AA)
        writer.write(frame_HWC)
    writer.release()


def build_network(name: str, image_size: int) -> torch.nn.Module:
    """Return the network with random weights and the statistics of its own activations, so that its outputs vary."""
    torch.manual_seed(0)
    detector = build_yolov5(name, weights="none", num_classes=NUM_CLASSES).module
    assert isinstance(detector, YoloV5)  # noqa: S101  as it is built
    network = WithDecode(detector)
    example_N3HW = torch.rand(2, 3, image_size, image_size)
    with torch.no_grad():
        for _ in range(3):
            network.train()(example_N3HW)
    return network.eval()


def build_runner(name: str, image_size: int) -> Runner:
    """Return the network in ONNX Runtime on the CPU."""
    from eightgig.export.onnx import export_onnx
    from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner

    example_N3HW = torch.rand(2, 3, image_size, image_size)
    network = build_network(name, image_size)
    return OnnxRuntimeRunner(export_onnx(network, {"images": example_N3HW}, card={}, output_name="predictions"))


def find_confidence(runner: Runner, image_size: int) -> float:
    """Return the score that few enough predictions exceed."""
    images_NCHW = np.random.default_rng(0).random((1, 3, image_size, image_size), dtype=np.float32)
    predictions_PK = runner.run({"images": images_NCHW})["predictions"][0]
    scores = np.sort((predictions_PK[:, 5:] * predictions_PK[:, 4:5]).max(axis=1))
    return float(scores[-4 * BOXES_A_FRAME])


def play(path: Path, runner: Runner, out: Path, image_size: int, parameters: VideoParameters) -> VideoReport:
    """Go through the video once, writing both files."""
    with open_source(path) as source:
        return detect_video(
            source,
            runner,
            image_size=image_size,
            classes=[f"class {number}" for number in range(NUM_CLASSES)],
            parameters=parameters,
            video_path=out / "out.mp4",
            track_path=out / "out.jsonl",
        )


def shares(report: VideoReport) -> dict[str, float]:
    """Return what part of a frame's time each stage takes."""
    total_ms = sum(stage.mean_ms for stage in report.stages.values())
    return {name: round(stage.mean_ms / total_ms, 4) for name, stage in report.stages.items()}


def measure(name: str, image_size: int, path: Path, out: Path, options: argparse.Namespace) -> dict[str, object]:
    """Run both ways in turn, and once through the whole video."""
    with build_runner(name, image_size) as runner:
        settings = {"confidence": find_confidence(runner, image_size), "max_frames": options.frames_a_round}
        rounds: dict[str, list[VideoReport]] = {"overlapped": [], "plain": []}
        for _ in range(options.rounds):
            for way, reports in rounds.items():
                parameters = VideoParameters(overlap=way == "overlapped", **settings)
                reports.append(play(path, runner, out, image_size, parameters))
        long = play(path, runner, out, image_size, VideoParameters(**settings | {"max_frames": None}))
    ratios = [o.fps_end_to_end / p.fps_end_to_end for o, p in zip(*rounds.values(), strict=True)]
    parts = [shares(report) for report in rounds["plain"]]
    around = statistics.median(part["preprocess"] + part["suppress"] for part in parts)
    row: dict[str, object] = {
        "boxes_a_frame": long.num_detections / long.frames_written,
        "fps": {way: [round(report.fps_end_to_end, 2) for report in reports] for way, reports in rounds.items()},
        "speed_up": statistics.median(ratios),
        "share_of_pre_and_post": around,
        "shares_of_the_plain_loop": parts[len(parts) // 2],
        "stages_of_the_plain_loop": rounds["plain"][-1].model_dump()["stages"],
        "stages_overlapped": rounds["overlapped"][-1].model_dump()["stages"],
        "long_run": long.model_dump(exclude={"stages"}),
        "resident_growth": long.resident_mib_at_end / (long.resident_mib_at_100 or long.resident_mib_at_end) - 1,
    }
    print(
        name,
        image_size,
        {key: row[key] for key in ("fps", "speed_up", "share_of_pre_and_post", "resident_growth")},
        flush=True,
    )
    return row


def on_device(name: str, device: DeviceKind, *, image_size: int, tiny: bool) -> Callable[[Any], dict[str, Any]]:
    """Make ready what takes a video's frames through torch on a device; give what measures it, fp16 on a GPU."""
    network, folder = build_network(name, image_size), tempfile.TemporaryDirectory(prefix="bench-video-")
    path = Path(folder.name) / "in.mp4"
    frames, size = (12, (320, 192)) if tiny else (300, (1280, 720))
    paint_video(path, frames, size)

    def measure(_: Any) -> dict[str, Any]:
        dtype = torch.float16 if device == "cuda" else torch.float32
        rows: dict[str, Any] = {"model": name, "image_size": image_size, "precision": str(dtype), "frames": frames}
        with folder, TorchRunner(network.to(dtype), device, output_names=("predictions",)) as runner:
            confidence = find_confidence(runner, image_size)
            for way in ("plain", "overlapped"):
                parameters = VideoParameters(overlap=way == "overlapped", confidence=confidence)
                report = play(path, runner, Path(folder.name), image_size, parameters)
                rows[way] = report.model_dump(mode="json")
        rows["speed_up"] = rows["overlapped"]["fps_end_to_end"] / rows["plain"]["fps_end_to_end"]
        return rows

    return measure


def main() -> None:
    """Measure and write `benchmarks/results/video-<cpu>.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["yolov5n", "yolov5s"])
    parser.add_argument("--image-sizes", type=int, nargs="+", default=[320, 640])
    parser.add_argument("--size", type=int, nargs=2, default=[1280, 720], help="width and height of the video")
    parser.add_argument("--frames", type=int, default=1000, help="of the long run")
    parser.add_argument("--frames-a-round", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    device = describe_device("cpu")
    with tempfile.TemporaryDirectory(prefix="bench-video-") as folder:
        path = Path(folder) / "in.mp4"
        paint_video(path, options.frames, tuple(options.size))
        rows = {
            f"{name} at {side}": measure(name, side, path, Path(folder), options)
            for name in options.models
            for side in options.image_sizes
        }
    result = {
        "what": "frames a second from a video file to a video file, decoding and encoding included",
        "device": device,
        "video": "x".join(map(str, options.size)),
        "versions": {name: version(name) for name in ("onnxruntime", "av")} | {"opencv": cv2.__version__},
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "goals": GOALS,
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / ("video-" + "-".join(device.split(",")[0].lower().split()) + ".json")
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
