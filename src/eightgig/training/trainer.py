"""The training loop: epochs of optimizer steps and validations, kept so that a run can go on exactly where it was."""

import json
import logging
import math
import time
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from eightgig.core.errors import CheckpointError, TrainingError
from eightgig.core.files import write_text
from eightgig.core.progress import track
from eightgig.core.stop import Stopped, StoppedAtOnce, StopRequest, stop_after_step
from eightgig.core.tracker import Tracker
from eightgig.training.checkpoint import Checkpoints, size_of
from eightgig.training.epoch_iterator import LOADING_ERRORS, AccumulationWindow, EpochIterator, SteadyLoader
from eightgig.training.history import EpochRow, TrainingResult
from eightgig.training.objective import Batch, Objective
from eightgig.training.parameters import TrainParameters
from eightgig.training.progress import Best, Progress, result_state
from eightgig.training.recovery import BatchSplitter
from eightgig.training.train_step import Stepper
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.measure import MemoryMeter
from eightgig.vram.runtime.recorder import FlightRecorder

__all__ = ["EpochRow", "Trainer", "TrainingResult"]
logger = logging.getLogger(__name__)
BAD_STEPS = "bad_steps.json"
_MOST_TIME_FOR_CHECKPOINTS = 0.01


class Trainer(Stepper):
    """Trains one module on one objective, as a memory plan says, and in smaller pieces where memory runs out.

    Args:
        module: on the CPU; moved to the plan's device.
        steps: optimizer steps of all epochs, for the schedule.
        checkpoints: where the run is kept while it lasts, and its result after it; None keeps nothing.
        meters: measure the `train` and `validate` phases while they run.
        recorder: notes what memory does; None notes it for this object alone.

    Raises:
        TrainingError: weights, gradients and the optimizer's state do not fit, whatever the batch.
    """

    def __init__(
        self,
        module: nn.Module,
        objective: Objective,
        *,
        plan: MemoryPlan,
        parameters: TrainParameters,
        steps: int,
        tracker: Tracker,
        checkpoints: Checkpoints | None = None,
        meters: tuple[MemoryMeter, MemoryMeter] | None = None,
        recorder: FlightRecorder | None = None,
    ) -> None:
        super().__init__(
            module, objective, plan=plan, parameters=parameters, steps=steps, tracker=tracker, recorder=recorder
        )
        self.meters = meters or (MemoryMeter("train", plan.device), MemoryMeter("validate", plan.device))
        self._loaded_accumulation = plan.gradient_accumulation_steps
        self._checkpoints, self._clock = checkpoints, _CheckpointTimer(60 * parameters.checkpoint_minutes)
        with self.kept_weights():
            self.progress = Progress(Best(self.weights()))

    def fit(
        self,
        train_batches: DataLoader[Batch],
        val_batches: DataLoader[Batch],
        *,
        go_on_from: dict[str, Any] | None = None,
    ) -> TrainingResult:
        """Train all epochs, or until the validation score has not risen for `patience` epochs.

        Args:
            train_batches: of all processes together; the sampler is a `KeyedSampler`.
            val_batches: every process goes through all of them.
            go_on_from: the state of a checkpoint of this run; None begins.

        Raises:
            CheckpointError: there is no room for a checkpoint; nothing was trained.
            Stopped: Ctrl-C or SIGTERM; a checkpoint of the last whole step is there.
            TrainingError: too many steps in a row had a loss or gradients that were not finite.
        """
        if go_on_from is not None:
            self._go_on(go_on_from)
        elif self._checkpoints and self.ranks.is_first:
            self._checkpoints.require_space(2 * (self.state_bytes() + size_of(self.progress.best.weights)))
        feed = EpochIterator(train_batches, gradient_accumulation_steps=self._loaded_accumulation, ranks=self.ranks)
        validation = SteadyLoader(val_batches)
        self._clock.start()
        with stop_after_step() as stop:
            try:
                while self.progress.epoch <= self.parameters.epochs and not self._is_out_of_patience():
                    self._epoch(feed, validation, stop)
            except StoppedAtOnce:
                raise
            except Stopped:
                self._save()
                raise
        return self._finished()

    def train_epoch(self, feed: EpochIterator, stop: StopRequest | None = None) -> None:
        """Do what is left of an epoch's optimizer steps.

        Raises:
            Stopped: as was asked for, after a whole step.
            TrainingError: too many steps in a row were not finite.
        """
        progress = self.progress
        begun = time.perf_counter() - progress.seconds
        windows = feed.windows(progress.epoch, progress.samples)
        for window in track(windows, f"epoch {progress.epoch}", total=feed.windows_after(progress.samples)):
            loss, norm = self.step(window.batches, count=window.count)
            progress.seconds = time.perf_counter() - begun
            progress.samples += window.count
            if norm is None:
                self._skip(window, loss)
            else:
                progress.bad_steps.clear()
                progress.sums.add(loss, window.count, norm)
            self._between_steps(stop)

    def _skip(self, window: AccumulationWindow, loss: float) -> None:
        progress, most = self.progress, self.parameters.max_skipped_steps
        samples = [int(index) for batch in window.batches for index in batch["indices"]]
        progress.sums.skipped += 1
        progress.bad_steps.append({"step": self.num_steps - 1, "loss": loss, "samples": samples})
        if len(progress.bad_steps) < most:
            return
        noted = ""
        if self._checkpoints:
            path = self._checkpoints.folder / BAD_STEPS
            write_text(path, json.dumps(progress.bad_steps, indent=1) + "\n")
            noted = f" All of these steps are listed in {path}."
        raise TrainingError(
            f"{most} optimizer steps in a row had a loss or gradients that were not finite (the last loss: {loss}); "
            f"the last window began with the samples {samples[:8]} of the store.{noted} The weights are as they were "
            "before the first of them. Lower train.learning_rate, set plan.precision to bf16 or fp32, or look at these "
            "samples."
        )

    def _between_steps(self, stop: StopRequest | None) -> None:
        """Save if it is time to, and end if that was asked for: in all processes after the same step."""
        asked, due = self.ranks.largest(float((stop and stop.number) or 0), float(self._clock.is_due()))
        if asked:
            raise Stopped(int(asked))
        if due:
            self._save()

    def _epoch(self, feed: EpochIterator, validation: SteadyLoader, stop: StopRequest) -> None:
        progress = self.progress
        if not progress.samples:
            progress.learning_rate = self.learning_rate()
        train_meter, val_meter = self.meters
        with train_meter, self.recorder.phase("train"):
            self.train_epoch(feed, stop)
        trained = time.perf_counter()
        with val_meter, self.recorder.phase("validate"), self.kept_weights():
            result = self._validate(validation, stop)
        sums = progress.sums
        row = EpochRow(
            epoch=progress.epoch,
            train_loss=sums.loss / max(1, sums.count),
            val_loss=result["loss"],
            val_score=result["score"],
            learning_rate=progress.learning_rate,
            gradient_norm=sums.norm_mean,
            gradient_norm_max=sums.norm_max,
            skipped_steps=sums.skipped,
            loss_scale=self.loss_scale.value if self.loss_scale else None,
            seconds=progress.seconds,
            val_seconds=time.perf_counter() - trained,
            samples_per_second=sums.count / max(progress.seconds, 1e-9),
        )
        if row.val_score > progress.best.score:
            with self.kept_weights():
                progress.best = Best(self.weights(), row.epoch, row.val_score)
        progress.end_epoch(row)
        self._tell(row)

    def _validate(self, loader: SteadyLoader, stop: StopRequest) -> dict[str, float]:
        def watched() -> Iterator[Batch]:
            for batch in track(loader.batches, "validating"):
                if self.ranks.count == 1:  # several would not stop at the same batch
                    stop.obey()
                yield batch

        def work(pieces: BatchSplitter) -> dict[str, float]:
            return self.objective.evaluate(self.module, pieces(watched()), self.accelerator.device)

        while True:
            try:
                return self.recovery.run("validate", work)
            except LOADING_ERRORS as error:
                loader.start_again(error)

    def _tell(self, row: EpochRow) -> None:
        if not self.ranks.is_first:
            return
        self.tracker.log_metrics(row.figures, step=row.epoch)
        logger.info(
            "epoch %d of %d: loss %.3f, validation loss %.3f, %s %.3f, %.0f samples/s",
            row.epoch,
            self.parameters.epochs,
            row.train_loss,
            row.val_loss,
            self.objective.score_name,
            row.val_score,
            row.samples_per_second,
        )

    def _is_out_of_patience(self) -> bool:
        patience, history = self.parameters.patience, self.progress.history
        if not patience or not history or history[-1].epoch - self.progress.best.epoch < patience:
            return False
        logger.info("no better score for %d epochs: stopped early", patience)
        return True

    def _state(self) -> dict[str, Any]:
        return {"finished": False, "stepper": self.state(), "progress": self.progress.state()}

    def _go_on(self, state: dict[str, Any]) -> None:
        self.restore(state["stepper"])
        self.progress = progress = Progress.of(state["progress"])
        for row in progress.history:  # the tracked run of this process is a new one, and shall show the whole curve
            self.tracker.log_metrics(row.figures, step=row.epoch)
        logger.info(
            "training goes on in epoch %d after %d samples: %d optimizer steps are done",
            progress.epoch,
            progress.samples,
            self.num_steps,
        )

    def _save(self) -> None:
        """Keep a checkpoint. A full disk does not end a run that can go on: the next one may find room."""
        if self._checkpoints is None:
            return
        begun = time.monotonic()
        state = self._state()
        if self.ranks.is_first:
            try:
                self._checkpoints.save(state, step=self.num_steps)
            except CheckpointError as error:
                logger.error("%s Training goes on; the checkpoint before this one is kept.", error)
        self._clock.start(cost=time.monotonic() - begun)

    def _finished(self) -> TrainingResult:
        best, plan = self.progress.best, self.plan
        result = TrainingResult(
            best.weights,
            best.epoch,
            best.score,
            tuple(self.progress.history),
            measured=tuple(meter.result() for meter in self.meters),
            recovered=self.recovered,
            final={
                "micro_batch": plan.micro_batch,
                "gradient_accumulation_steps": plan.gradient_accumulation_steps,
                "eval_batch": plan.eval_batch,
            },
            findings=self.recovery.findings,
            cache_clearings=self.recorder.report().cache_clearings,
        )
        if self._checkpoints and self.ranks.is_first:
            state = {"finished": True, "result": result_state(result)}
            self._checkpoints.save(state, step=self.num_steps, keep=1)
        return result


class _CheckpointTimer:
    """When the next checkpoint is due: after so many seconds, or later where saving would cost over 1 % of the time."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s, self._due = interval_s, math.inf

    def start(self, *, cost: float = 0.0) -> None:
        """Count from now on; `cost` is how long the last checkpoint took, in seconds."""
        self._due = time.monotonic() + max(self._interval_s, cost / _MOST_TIME_FOR_CHECKPOINTS)

    def is_due(self) -> bool:
        """Tell whether a checkpoint should be kept now."""
        return time.monotonic() >= self._due
