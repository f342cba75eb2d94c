"""The training loop: epochs of optimizer steps and validations, kept so that a run can go on exactly where it was."""

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from eightgig.core.errors import TrainingError
from eightgig.core.files import write_text
from eightgig.core.progress import progress, track
from eightgig.core.stop import Stopped, StoppedAtOnce, StopRequest, stop_after_step
from eightgig.core.tracker import Tracker
from eightgig.training.batch_splitter import BatchSplitter
from eightgig.training.checkpointing.checkpoint import Checkpoints, size_of
from eightgig.training.checkpointing.history import EpochRow, TrainingResult
from eightgig.training.checkpointing.progress import BestEpoch, TrainingProgress, result_state
from eightgig.training.checkpointing.saver import CheckpointSaver
from eightgig.training.epoch_iterator import LOADING_ERRORS, AccumulationWindow, EpochIterator, SteadyLoader
from eightgig.training.objective import Batch, Objective
from eightgig.training.parameters import TrainParameters
from eightgig.training.train_step import TrainStep
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.measure import MemoryMeter
from eightgig.vram.runtime.recorder import FlightRecorder

logger = logging.getLogger(__name__)
BAD_STEPS = "bad_steps.json"


class Trainer:
    """Trains one module on one objective, as a memory plan says, and in smaller pieces where memory runs out.

    Args:
        module: on the CPU; moved to the plan's device.
        steps: optimizer steps of all epochs, for the schedule.
        checkpoints: where the run is kept while it lasts, and its result after it; None keeps nothing.
        meters: measure the `train` and `validate` phases while they run.
        recorder: notes what memory does; None notes it for this object alone.

    Attributes:
        train_step: does the optimizer steps.
        state: of the train step: the network, its optimizer and what belongs to them.
        progress: how far the run is.

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
        self.train_step = TrainStep(
            module, objective, plan=plan, parameters=parameters, steps=steps, tracker=tracker, recorder=recorder
        )
        self._objective, self._parameters, self._tracker = objective, parameters, tracker
        self.state = self.train_step.state
        self._process_group = self.state.process_group
        self._meters = meters or (MemoryMeter("train", plan.device), MemoryMeter("validate", plan.device))
        self._loaded_accumulation = plan.gradient_accumulation_steps
        self._num_steps, self._report = steps, _say_nothing
        self._saver = CheckpointSaver(
            checkpoints, interval_s=60 * parameters.checkpoint_minutes, is_first=self._process_group.is_first
        )
        with self.state.averaged_weights():
            self.progress = TrainingProgress(BestEpoch(self.state.weights()))

    def fit(
        self,
        train_batches: DataLoader[Batch],
        val_batches: DataLoader[Batch],
        *,
        resume_from: dict[str, Any] | None = None,
    ) -> TrainingResult:
        """Train all epochs, or until the validation score has not risen for `patience` epochs.

        Args:
            train_batches: of all processes together; the sampler is a `KeyedSampler`.
            val_batches: of all processes together, likewise.
            resume_from: the state of a checkpoint of this run; None begins.

        Raises:
            CheckpointError: there is no room for a checkpoint; nothing was trained.
            Stopped: Ctrl-C or SIGTERM; a checkpoint of the last whole step is there.
            TrainingError: too many steps in a row had a loss or gradients that were not finite.
        """
        if resume_from is not None:
            self._resume(resume_from)
        else:
            self._saver.require_space(2 * (self.state.num_bytes() + size_of(self.progress.best.weights)))
        iterator = EpochIterator(
            train_batches,
            gradient_accumulation_steps=self._loaded_accumulation,
            process_group=self._process_group,
        )
        self._validation = self.state.parallel.validation_of(val_batches, self._objective)
        validation = SteadyLoader(self._validation.batches)
        self._saver.timer.start()
        with stop_after_step() as stop, progress("training", lines=False) as self._report:
            try:
                while self.progress.epoch <= self._parameters.epochs and not self._is_out_of_patience():
                    self._run_epoch(iterator, validation, stop)
            except StoppedAtOnce:
                raise
            except Stopped:
                self._save()
                raise
        return self._finish()

    def train_epoch(self, iterator: EpochIterator, stop: StopRequest | None = None) -> None:
        """Do what is left of an epoch's optimizer steps.

        Raises:
            Stopped: as was asked for, after a whole step.
            TrainingError: too many steps in a row were not finite.
        """
        done = self.progress
        begun, left = time.perf_counter() - done.seconds, iterator.windows_after(done.samples)
        with progress(f"epoch {done.epoch} of {self._parameters.epochs}") as report:
            for number, window in enumerate(iterator.windows(done.epoch, done.samples), start=1):
                self._train_window(window)
                done.seconds = time.perf_counter() - begun
                report(number, left, f"loss {done.sums.loss / max(1, done.sums.count):.3f}")
                self._report(self.state.num_steps, self._num_steps, self._last_score())
                self._between_steps(stop)

    def close(self) -> None:
        """Free the device's memory: the network is on the CPU again; nothing can be trained any more."""
        self.state.close()

    def _train_window(self, window: AccumulationWindow) -> None:
        loss, norm = self.train_step.run(window.batches, count=window.count)
        self.progress.samples += window.count
        if norm is None:
            self._skip(window, loss)
        else:
            self.progress.bad_steps.clear()
            self.progress.sums.add(loss, window.count, norm)

    def _last_score(self) -> str:
        history = self.progress.history
        return f"{self._objective.score_name} {history[-1].val_score:.3f}" if history else ""

    def _skip(self, window: AccumulationWindow, loss: float) -> None:
        progress, max_skipped = self.progress, self._parameters.max_skipped_steps
        samples = [int(index) for batch in window.batches for index in batch["indices"]]
        progress.sums.skipped += 1
        progress.bad_steps.append({"step": self.state.num_steps - 1, "loss": loss, "samples": samples})
        if len(progress.bad_steps) < max_skipped:
            return
        noted = ""
        if self._saver.folder:
            path = self._saver.folder / BAD_STEPS
            write_text(path, json.dumps(progress.bad_steps, indent=1) + "\n")
            noted = f" All of these steps are listed in {path}."
        raise TrainingError(
            f"{max_skipped} optimizer steps in a row had a loss or gradients that were not finite (the last loss: "
            f"{loss}); the last window began with the samples {samples[:8]} of the store.{noted} The weights are as "
            "they were before the first of them. Lower train.learning_rate, set plan.precision to bf16 or fp32, or "
            "look at these samples."
        )

    def _between_steps(self, stop: StopRequest | None) -> None:
        """Save if it is time to, and end if that was asked for: in all processes after the same step."""
        signal, due = self._process_group.largest(float((stop and stop.number) or 0), float(self._saver.timer.is_due()))
        if signal:
            raise Stopped(int(signal))
        if due:
            self._save()

    def _run_epoch(self, iterator: EpochIterator, validation: SteadyLoader, stop: StopRequest) -> None:
        progress, recorder = self.progress, self.train_step.recorder
        if not progress.samples:
            progress.learning_rate = self.train_step.learning_rate()
        train_meter, val_meter = self._meters
        with train_meter, recorder.phase("train"):
            self.train_epoch(iterator, stop)
        trained = time.perf_counter()
        with val_meter, recorder.phase("validate"), self.state.averaged_weights():
            figures = self._validate(validation, stop)
        row = self._row(figures, val_seconds=time.perf_counter() - trained)
        if row.val_score > progress.best.score:
            with self.state.averaged_weights():
                progress.best = BestEpoch(self.state.weights(), row.epoch, row.val_score)
        progress.end_epoch(row)
        self._log_epoch(row)

    def _row(self, figures: dict[str, float], *, val_seconds: float) -> EpochRow:
        progress, loss_scale = self.progress, self.state.loss_scale
        sums = progress.sums
        return EpochRow(
            epoch=progress.epoch,
            train_loss=sums.loss / max(1, sums.count),
            val_loss=figures["loss"],
            val_score=figures["score"],
            learning_rate=progress.learning_rate,
            gradient_norm=sums.norm_mean,
            gradient_norm_max=sums.norm_max,
            skipped_steps=sums.skipped,
            loss_scale=loss_scale.value if loss_scale else None,
            seconds=progress.seconds,
            val_seconds=val_seconds,
            samples_per_second=sums.count / max(progress.seconds, 1e-9),
        )

    def _validate(self, loader: SteadyLoader, stop: StopRequest) -> dict[str, float]:
        def watched() -> Iterator[Batch]:
            for batch in track(loader.batches, "validating"):
                if self._process_group.count == 1:  # several would not stop at the same batch
                    stop.obey()
                yield batch

        def evaluate(splitter: BatchSplitter) -> dict[str, float]:
            return self.state.parallel.evaluate(
                self._objective, self.state.module, self._validation, watched(), splitter
            )

        while True:
            try:
                return self.train_step.recovery.run("validate", evaluate)
            except LOADING_ERRORS as error:
                loader.start_again(error)

    def _log_epoch(self, row: EpochRow) -> None:
        if not self._process_group.is_first:
            return
        self._tracker.log_metrics(row.figures, step=row.epoch)
        logger.info(
            "epoch %d of %d: loss %.3f, validation loss %.3f, %s %.3f, %.0f samples/s",
            row.epoch,
            self._parameters.epochs,
            row.train_loss,
            row.val_loss,
            self._objective.score_name,
            row.val_score,
            row.samples_per_second,
        )

    def _is_out_of_patience(self) -> bool:
        patience, history = self._parameters.patience, self.progress.history
        if not patience or not history or history[-1].epoch - self.progress.best.epoch < patience:
            return False
        logger.info("no better score for %d epochs: stopped early", patience)
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return all that the run goes on from, as plain values and tensors; every process has to call it."""
        return {"finished": False, "train_step": self.train_step.state_dict(), "progress": self.progress.state_dict()}

    def _resume(self, state: dict[str, Any]) -> None:
        self.train_step.load_state_dict(state["train_step"])
        self.progress = progress = TrainingProgress.from_state_dict(state["progress"])
        for row in progress.history:  # the tracked run of this process is a new one, and shall show the whole curve
            self._tracker.log_metrics(row.figures, step=row.epoch)
        logger.info(
            "training goes on in epoch %d after %d samples: %d optimizer steps are done",
            progress.epoch,
            progress.samples,
            self.state.num_steps,
        )

    def _save(self) -> None:
        self._saver.save(self.state_dict, step=self.state.num_steps)

    def _finish(self) -> TrainingResult:
        """Return the result, and save it as the last checkpoint."""
        best, plan, recovery = self.progress.best, self.train_step.plan, self.train_step.recovery
        result = TrainingResult(
            best.weights,
            best.epoch,
            best.score,
            tuple(self.progress.history),
            measured=tuple(meter.result() for meter in self._meters),
            recovered=tuple(recovery.recovered),
            final={
                "micro_batch": plan.micro_batch,
                "gradient_accumulation_steps": plan.gradient_accumulation_steps,
                "eval_batch": plan.eval_batch,
            },
            findings=recovery.findings,
            cache_clearings=self.train_step.recorder.report().cache_clearings,
        )
        self._saver.save_last({"finished": True, "result": result_state(result)}, step=self.state.num_steps)
        return result


def _say_nothing(done: int, total: int | None, note: str = "") -> None:
    """Report nowhere, where nobody waits for all epochs."""
