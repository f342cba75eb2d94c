"""Video: the trained detector on a file, a camera or a rendered sample, as fast as this machine can."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kedro.pipeline import Pipeline

from eightgig.core.errors import ConfigurationError
from eightgig.datasets.engine import Engine, UnusableEngine
from eightgig.datasets.weights import Weights
from eightgig.export.parameters import ExportParameters
from eightgig.stages import variants
from eightgig.stages.annotations import ImageArray, Table
from eightgig.stages.export import ONNX_FILES
from eightgig.stages.task import stage_node, stage_pipeline
from eightgig.tasks.detection.video.parameters import VideoParameters
from eightgig.tasks.detection.video.records import VideoReport

if TYPE_CHECKING:
    from eightgig.bench.variants import Variant

_NUM_STILLS = 8
_SAMPLE_FPS = 30.0


def create_pipeline() -> Pipeline:
    """Return the node from the exported files and a source of frames to `video_report` and `video_sheet`."""
    files = {name: name for name in (*ONNX_FILES, "onnx_suppressed", "compressed_onnx", "engines", "engines_table")}
    inputs = {
        "weights": "weights",
        "benchmark_table": "benchmark_table",
        "export": "params:export",
        "video": "params:video",
        "video_folder": "video_folder",
        **files,
    }
    return stage_pipeline("video", [stage_node(run_video, inputs, ["video_report", "video_sheet"])])


def run_video(
    weights: Weights,
    benchmark_table: Table,
    export: ExportParameters,
    video: VideoParameters,
    video_folder: Path,
    onnx_fp32: bytes,
    onnx_fp16: bytes,
    onnx_int8_cpu: bytes,
    onnx_int8_trt: bytes,
    onnx_suppressed: bytes,
    compressed_onnx: dict[str, bytes],
    engines: dict[str, Engine | UnusableEngine],
    engines_table: Table,
) -> tuple[VideoReport, ImageArray]:
    """Find the objects of every frame; write the drawn video and the track of detections into `video_folder`.

    Returns:
        How fast it went and where the time went; some frames as they were drawn.

    Raises:
        ConfigurationError: the source may not be opened, or there is no such runner.
        DataError: the source is no video, or it can be read no further than its beginning.
    """
    from eightgig.tasks.detection.video.pipeline import detect_video
    from eightgig.tasks.detection.video.source import open_source

    files = dict(zip(ONNX_FILES, (onnx_fp32, onnx_fp16, onnx_int8_cpu, onnx_int8_trt), strict=True))
    smaller = {f"onnx_{name}": file for name, file in compressed_onnx.items()}
    forms: list[Variant] = [
        *variants.onnx_variants({**files, "onnx_suppressed": onnx_suppressed} | smaller, "cpu"),
        *variants.onnx_variants({name: files[name] for name in ("onnx_fp32", "onnx_fp16")}, "cuda"),
        *variants.engine_variants(engines, engines_table, files, export.tensorrt),
    ]
    chosen = _chosen(video.runner, forms, benchmark_table)
    with _source_of(video, video_folder) as address:
        name = _file_name(address)
        with open_source(address, allow=video.allowed_schemes) as source, chosen.open() as runner:
            report = detect_video(
                source,
                runner,
                image_size=weights.card.image_size,
                classes=weights.card.classes,
                parameters=video,
                video_path=video_folder / f"{name}.mp4",
                track_path=video_folder / f"{name}.jsonl",
            )
    return report, _stills(video_folder / f"{name}.mp4")


def _chosen(wanted: str, forms: "list[Variant]", benchmark: Table) -> "Variant":
    """Return the form of that name; for `auto` the recommended one, of the GPU where one is."""
    by_name = {form.name: form for form in forms}
    if wanted != "auto":
        if wanted not in by_name:
            raise ConfigurationError(f"video.runner: no form `{wanted}`. There are: auto, {', '.join(by_name)}.")
        return by_name[wanted]
    recommended = benchmark[benchmark["recommended"]].sort_values("device", key=lambda device: device == "cpu")
    found = [str(name) for name in recommended["variant"] if str(name) in by_name]
    return by_name[found[0] if found else "onnx_fp32"]


@contextmanager
def _source_of(video: VideoParameters, folder: Path) -> Iterator[str | int]:
    """Yield the source that the user names, or a video that is rendered for the while."""
    if video.source is not None:
        yield video.source
        return
    from eightgig.data.samples.sample_video import write_sample_video

    path = folder / "sample_source.mp4"
    write_sample_video(path, video.sample_frames, seed=0, fps=_SAMPLE_FPS)
    yield str(path)


def _file_name(address: str | int) -> str:
    """Return the stem of a file, `camera_0`, or of another address what a file may be called."""
    if isinstance(address, int) or address.isdigit():
        return f"camera_{address}"
    return re.sub(r"[^\w.-]+", "_", Path(address.partition("://")[2] or address).stem) + "_detected"


def _stills(path: Path) -> ImageArray:
    """Return some frames of a drawn video, spread over it."""
    from eightgig.report.images import Tile, contact_sheet
    from eightgig.tasks.detection.video.decoding import stills

    tiles = [Tile(frame_HWC, f"{time_s:.1f} s") for time_s, frame_HWC in stills(path, _NUM_STILLS)]
    return contact_sheet(tiles, columns=4, tile_side_px=320)
