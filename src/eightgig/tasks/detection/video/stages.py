"""What happens to one frame: read, prepared, run through the network, finished. Each stage belongs to one thread."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from eightgig.core.errors import ExportError
from eightgig.core.units import mib
from eightgig.data.images.letterbox import Placement, letterbox_into
from eightgig.export.runners import Array, Arrays, Runner
from eightgig.tasks.detection.detections import Detections, suppress
from eightgig.tasks.detection.suppression import detections_of
from eightgig.tasks.detection.transforms import unletterboxed
from eightgig.tasks.detection.video.drawing import class_colours, draw_boxes
from eightgig.tasks.detection.video.frames import Frame, FrameSource
from eightgig.tasks.detection.video.parameters import VideoParameters
from eightgig.tasks.detection.video.records import StageTime
from eightgig.tasks.detection.video.tracking import Tracker
from eightgig.tasks.detection.video.writer import DrawnVideo, WriteLine

STAGES = ("decode", "preprocess", "infer", "suppress", "draw", "encode")
_FRAMES_FOR_MEDIAN = 4096
_MEMORY_AFTER_FRAMES = 100


class Slot:
    """The memory of one frame on its way, used again and again.

    Attributes:
        frame_HWC: BGR uint8, as it was read; boxes are drawn into it.
        images_NCHW: RGB float32, 0 to 1, N = 1, as the network takes it.
        index: of the frame in its source.
        time_s: of the frame since the beginning: by the source's own clock, or by this machine's where it has none.
        duration_s: how long it is shown if none follows.
        placement: of the frame on the network's canvas.
        outputs: what the network gave.
    """

    def __init__(self, source: FrameSource, image_size: int) -> None:
        self.frame_HWC = np.empty((source.height, source.width, 3), np.uint8)
        self.canvas_HWC = np.empty((image_size, image_size, 3), np.uint8)
        self.planes_3HW = np.empty((3, image_size, image_size), np.uint8)
        self.images_NCHW = np.empty((1, 3, image_size, image_size), np.float32)
        self.index = -1
        self.time_s, self.duration_s = 0.0, 0.0
        self.placement = Placement(1.0, 0, 0)
        self.outputs: Arrays = {}


class StageTimer:
    """Collects how long something takes, in constant memory."""

    def __init__(self) -> None:
        self._latest_s: deque[float] = deque(maxlen=_FRAMES_FOR_MEDIAN)
        self._total_s, self._count = 0.0, 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure the block."""
        start = time.perf_counter()
        yield
        self._latest_s.append(time.perf_counter() - start)
        self._total_s += self._latest_s[-1]
        self._count += 1

    def summary(self) -> StageTime:
        """Return median and mean; zeros when nothing was measured."""
        median_s = float(np.median(self._latest_s)) if self._latest_s else 0.0
        return StageTime(median_ms=median_s * 1e3, mean_ms=self._total_s / max(self._count, 1) * 1e3)


@dataclass
class Stages:
    """The stages of one run, with what they count.

    Attributes:
        source: of the frames.
        runner: open; gives `predictions`, or `detections` where suppression is in the file.
        classes: names, by label.
        parameters: how.
        drawn: takes the frames with their boxes.
        write_line: takes what is found.
        num_read: frames that the source gave.
        num_dropped: of these, those that a newer one replaced.
        num_written: that went through all stages.
        num_detections: in them.
        resident_mib_at_100: memory after 100 of them.
    """

    source: FrameSource
    runner: Runner
    classes: Sequence[str]
    parameters: VideoParameters
    drawn: DrawnVideo
    write_line: WriteLine
    num_read: int = 0
    num_dropped: int = 0
    num_written: int = 0
    num_detections: int = 0
    resident_mib_at_100: float | None = None
    clocks: dict[str, StageTimer] = field(default_factory=lambda: {name: StageTimer() for name in STAGES})
    _tracker: Tracker = field(default_factory=Tracker, init=False)
    _started_s: float = field(default_factory=time.perf_counter, init=False)

    def read(self, slot: Slot) -> bool:
        """Fill the slot with the next frame; False when there is none or enough were read."""
        most = self.parameters.max_frames
        if most is not None and self.num_read - self.num_dropped >= most:
            return False
        with self.clocks["decode"].running():
            if not self.source.read_into(slot.frame_HWC):
                return False
        slot.index, self.num_read = self.num_read, self.num_read + 1
        by_clock_s = time.perf_counter() - self._started_s
        slot.time_s = by_clock_s if self.source.time_s is None else self.source.time_s
        slot.duration_s = self.source.duration_s
        return True

    def prepare(self, slot: Slot) -> None:
        """Write the frame, letterboxed, as the network takes it."""
        with self.clocks["preprocess"].running():
            slot.placement = letterbox_into(slot.frame_HWC, slot.canvas_HWC)
            cv2.split(slot.canvas_HWC, list(slot.planes_3HW[::-1]))  # BGR becomes RGB
            np.multiply(slot.planes_3HW, np.float32(1 / 255), out=slot.images_NCHW[0])

    def infer(self, slot: Slot) -> None:
        """Run the network."""
        with self.clocks["infer"].running():
            slot.outputs = self.runner.run({"images": slot.images_NCHW})

    def finish(self, slot: Slot) -> None:
        """Find the boxes, draw and write them."""
        with self.clocks["suppress"].running():
            detections = self._detections(slot)
            ids_M = self._tracker.update(detections)
        with self.clocks["draw"].running():
            if self.parameters.draw:
                self._draw(slot.frame_HWC, detections, ids_M)
        with self.clocks["encode"].running():
            self.write_line(slot.index, slot.time_s, detections, ids_M)
            self.drawn.write(slot.frame_HWC, slot.time_s, slot.duration_s)
        self._count(detections)

    def _detections(self, slot: Slot) -> Detections:
        if "detections" in slot.outputs:
            (found,) = detections_of(slot.outputs, 1)
        else:
            chosen = self.parameters
            predictions_NPK = self._predictions(slot.outputs)
            (found,) = suppress(
                predictions_NPK, confidence=chosen.confidence, iou=chosen.iou, max_detections=chosen.max_detections
            )
        height, width = slot.frame_HWC.shape[:2]
        boxes_xyxy_M4 = unletterboxed(found.boxes_xyxy_M4, slot.placement, height, width)
        # Of a box on the grey beside the frame nothing is left.
        kept_M = (boxes_xyxy_M4[:, 2:] > boxes_xyxy_M4[:, :2]).all(axis=1)
        return Detections(boxes_xyxy_M4[kept_M], found.scores_M[kept_M], found.labels_M[kept_M])

    def _predictions(self, outputs: Arrays) -> Array:
        if "predictions" not in outputs:
            raise ExportError(
                f"{self.runner.name}: wanted the output `predictions` or `detections`, found {', '.join(outputs)}. "
                "Give the runner of a detector."
            )
        return outputs["predictions"]

    def _draw(self, frame_HWC: Frame, detections: Detections, ids_M: NDArray[np.int64]) -> None:
        columns = zip(detections.labels_M.tolist(), ids_M.tolist(), detections.scores_M.tolist(), strict=True)
        captions = [f"{self.classes[label]} {number}  {score:.2f}" for label, number, score in columns]
        colours = class_colours(detections.labels_M, bgr=True)
        draw_boxes(frame_HWC, detections.boxes_xyxy_M4, captions, colours)

    def _count(self, detections: Detections) -> None:
        self.num_written += 1
        self.num_detections += len(detections.scores_M)
        if self.num_written == _MEMORY_AFTER_FRAMES:
            self.resident_mib_at_100 = resident_mib()


def resident_mib() -> float:
    """Return the memory that this process has in use now, MiB."""
    return mib(psutil.Process().memory_info().rss)
