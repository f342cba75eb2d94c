"""A video through a detector: reading, running and writing at the same time, in constant memory.

    free slots -> read + prepare -> run the network (caller's thread) -> suppress + draw + write -> free slots

Three threads hand slots of memory round in a ring, so what is in flight is bounded and nothing is allocated. A file
waits for a free slot: no frame is lost. A camera does not wait: the newest frame takes the place of an older one that
the network has not begun.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from eightgig.core.progress import Report, progress
from eightgig.export.runners import Runner
from eightgig.tasks.detection.video.bounded_queue import BoundedQueue
from eightgig.tasks.detection.video.frames import FrameSource
from eightgig.tasks.detection.video.parameters import VideoParameters
from eightgig.tasks.detection.video.records import VideoReport
from eightgig.tasks.detection.video.stages import Slot, Stages, resident_mib
from eightgig.tasks.detection.video.writer import track_file, video_file

logger = logging.getLogger(__name__)

_NUM_THREADS = 3
_NUM_LIVE_WAITING = 2  # one before the network, one behind it


def detect_video(
    source: FrameSource,
    runner: Runner,
    *,
    image_size: int,
    classes: Sequence[str],
    parameters: VideoParameters,
    video_path: Path | None = None,
    track_path: Path | None = None,
) -> VideoReport:
    """Return how fast the source was worked through; the boxes are in the files.

    Ctrl-C ends the run early and well: the files hold what was done until then, and the report says `interrupted`.
    After any error there is no file, and the error is the one that a stage raised, in whatever thread.

    Args:
        source: open.
        runner: open; takes `images` float32 1 x 3 x image_size x image_size, RGB 0 to 1, and gives `predictions`, or
            `detections` of a file with suppression inside, whose own confidence and IoU then count.
        image_size: side of what the network sees, pixels.
        classes: names, by label.
        parameters: how.
        video_path: where the drawn video goes, `.mp4`: each frame at its own time, in place of dropped ones the one
            before them, and as long as the source.
        track_path: where the detections go, a line of JSON a frame (see `video.writer.track_file`).

    Raises:
        DataError: a file cannot be written, or a frame is too small or too large.
        ExportError: the runner is none of a detector.
        KeyboardInterrupt: Ctrl-C before the first frame was done.
    """
    with ExitStack() as stack:
        drawn = stack.enter_context(
            video_file(video_path, width=source.width, height=source.height, pixel_aspect=source.pixel_aspect)
        )
        write_line = stack.enter_context(track_file(track_path, classes))
        report = stack.enter_context(progress(f"detecting in {source.name}"))
        stages = Stages(source, runner, classes, parameters, drawn, write_line)
        start = time.perf_counter()
        work = _overlapped if parameters.overlap else _sequential
        was_interrupted = work(stages, image_size, report)
        seconds = time.perf_counter() - start
        if source.end_s is not None:
            drawn.hold_until(source.end_s)
    for note in source.notes:
        logger.warning("%s: %s", source.name, note)
    return _report(stages, image_size, seconds, was_interrupted)


def _sequential(stages: Stages, image_size: int, report: Report) -> bool:
    """Do one stage after the other in this thread; True when Ctrl-C ended it."""
    slot = Slot(stages.source, image_size)
    try:
        while stages.read(slot):
            stages.prepare(slot)
            stages.infer(slot)
            stages.finish(slot)
            report(stages.num_written, stages.source.num_frames_about)
    except KeyboardInterrupt:
        if not stages.num_written:
            raise
        return True
    return False


class _Belts(NamedTuple):
    """The ring."""

    free: BoundedQueue[Slot]
    ready: BoundedQueue[Slot]
    done: BoundedQueue[Slot]

    def stop(self) -> None:
        for queue in self:
            queue.stop()


def _overlapped(stages: Stages, image_size: int, report: Report) -> bool:
    """Do all stages at the same time; True when Ctrl-C ended it."""
    queues = _ring(stages, image_size)
    errors: list[BaseException] = []
    reading = _started(partial(_read_and_prepare, stages, queues), queues, errors)
    finishing = _started(partial(_finish, stages, queues), queues, errors)
    was_interrupted = False
    try:
        _infer(stages, queues, report)
    except KeyboardInterrupt:
        was_interrupted = True
        queues.free.stop()
    except BaseException:
        queues.stop()
        raise
    finally:
        queues.done.close()
        try:
            finishing.join()
        finally:  # whatever happens, a second Ctrl-C too, no thread outlives the files that it writes
            queues.stop()
            finishing.join()
            reading.join()
    if errors:
        raise errors[0]
    if was_interrupted and not stages.num_written:
        raise KeyboardInterrupt
    return was_interrupted


def _ring(stages: Stages, image_size: int) -> _Belts:
    """Make the slots: one for each thread, and those that wait. A camera's wait singly, so that none grows old."""
    is_live = stages.source.is_live
    num_waiting = _NUM_LIVE_WAITING if is_live else stages.parameters.queue_size
    slots = [Slot(stages.source, image_size) for _ in range(_NUM_THREADS + num_waiting)]
    return _Belts(BoundedQueue(slots), BoundedQueue(), BoundedQueue(capacity=1 if is_live else None))


def _started(work: Callable[[], None], queues: _Belts, errors: list[BaseException]) -> threading.Thread:
    """Start a thread whose error ends the others too."""

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            errors.append(error)
            queues.stop()

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    return thread


def _read_and_prepare(stages: Stages, queues: _Belts) -> None:
    while (slot := queues.free.get()) is not None and stages.read(slot):
        stages.prepare(slot)
        if not stages.source.is_live:
            queues.ready.put(slot)
            continue
        for old in queues.ready.replace(slot):
            stages.num_dropped += 1
            queues.free.put(old)
    queues.ready.close()


def _infer(stages: Stages, queues: _Belts, report: Report) -> None:
    while (slot := queues.ready.get()) is not None:
        stages.infer(slot)
        queues.done.put(slot)
        report(stages.num_written, stages.source.num_frames_about)


def _finish(stages: Stages, queues: _Belts) -> None:
    while (slot := queues.done.get()) is not None:
        stages.finish(slot)
        queues.free.put(slot)


def _report(stages: Stages, image_size: int, seconds: float, was_interrupted: bool) -> VideoReport:
    source, runner = stages.source, stages.runner
    return VideoReport(
        source=source.name,
        runner=runner.name,
        precision=runner.precision,
        device=runner.device,
        image_size=image_size,
        overlapped=stages.parameters.overlap,
        interrupted=was_interrupted,
        width=source.width,
        height=source.height,
        fps_source=source.fps,
        duration_s=source.end_s,
        notes=tuple(source.notes),
        frames_expected=source.num_frames,
        frames_read=stages.num_read,
        frames_written=stages.num_written,
        frames_dropped=stages.num_dropped,
        num_detections=stages.num_detections,
        seconds=seconds,
        fps_end_to_end=stages.num_written / seconds,
        stages={name: clock.summary() for name, clock in stages.clocks.items()},
        resident_mib_at_100=stages.resident_mib_at_100,
        resident_mib_at_end=resident_mib(),
    )
