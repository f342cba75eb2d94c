"""The training loop: epochs of accumulation windows, in the precision and batch sizes of a memory plan."""

import logging
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils.data import DataLoader

from eightgig.core.errors import TrainingError
from eightgig.core.progress import track
from eightgig.core.tracker import Tracker
from eightgig.training.average import WeightAverage
from eightgig.training.checkpoint import save_checkpoint
from eightgig.training.history import EpochRow, EpochSums, TrainingResult
from eightgig.training.objective import Batch, Objective
from eightgig.training.optim import build_optimizer, learning_rate_at, set_learning_rate
from eightgig.training.parameters import TrainParameters
from eightgig.training.recovery import Recovery, forget_attempt
from eightgig.training.rehearsal import rehearse
from eightgig.vram.plan import MemoryPlan, Precision
from eightgig.vram.runtime.in_backward import StepsInBackward
from eightgig.vram.runtime.measure import MemoryMeter
from eightgig.vram.runtime.offload import offloaded
from eightgig.vram.runtime.recorder import FlightRecorder
from eightgig.vram.runtime.verdict import Recovered

__all__ = ["EpochRow", "Trainer", "TrainingResult", "windows"]
logger = logging.getLogger(__name__)
Item = TypeVar("Item")
_ACCELERATE_PRECISION: dict[Precision, str] = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True)
class _Gradients:
    """What one window gives, before the optimizer steps; `finite` is False when it must not step."""

    loss_sum: float
    norm: Tensor
    finite: bool
    applied: bool = False
    """Whether the weights were stepped in the backward pass."""


class Trainer:
    """Trains one module on one objective, as a memory plan says, and in smaller pieces where memory runs out.

    Args:
        module: on the CPU; moved to the plan's device.
        steps: optimizer steps of all epochs, for the schedule.
        checkpoints: folder for the checkpoint of each epoch; None keeps none.
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
        checkpoints: Path | None = None,
        meters: tuple[MemoryMeter, MemoryMeter] | None = None,
        recorder: FlightRecorder | None = None,
    ) -> None:
        # accelerate keeps its settings in process-wide state; a second run in one process may want another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(mixed_precision=_ACCELERATE_PRECISION[plan.precision], cpu=plan.device == "cpu")
        if plan.memory_format == "channels_last":
            module = module.to(memory_format=torch.channels_last)
        module = module.to(self.accelerator.device)
        optimizer = build_optimizer(module, parameters, plan)
        self._steps, self._step = steps, 0
        self.module, self.optimizer = self.accelerator.prepare(module, optimizer)
        self.average = None
        if parameters.ema_decay is not None:
            self.average = WeightAverage(self.module, decay=parameters.ema_decay, ramp_steps=parameters.ema_ramp_steps)
        self.objective, self.parameters, self._loaded_accumulation = objective, parameters, plan.accumulation
        self.tracker, self.checkpoints = tracker, checkpoints
        self.meters = meters or (MemoryMeter("train", plan.device), MemoryMeter("validate", plan.device))
        self.recorder = recorder or FlightRecorder(plan)
        self.recovery = Recovery(
            plan,
            self.module,
            recorder=self.recorder,
            tracker=tracker,
            forget=partial(forget_attempt, self.accelerator, self.optimizer),
            num_processes=self.accelerator.num_processes,
        )
        self._in_backward = StepsInBackward(optimizer) if plan.optimizer_in_backward else None
        self._skipped_in_a_row = 0
        with self.recovery.no_way_back("before the first step: the optimizer's state and its step do not fit"):
            rehearse(optimizer, self._in_backward)

    @property
    def plan(self) -> MemoryPlan:
        """The plan as it is carried out now: with the smaller micro-batch, once memory ran out."""
        return self.recovery.plan

    @property
    def recovered(self) -> tuple[Recovered, ...]:
        """Each time memory ran out and training went on."""
        return tuple(self.recovery.recovered)

    def fit(self, train_batches: DataLoader[Batch], val_batches: DataLoader[Batch]) -> TrainingResult:
        """Train all epochs, or until the validation score has not risen for `patience` epochs.

        Raises:
            TrainingError: too many steps in a row had a loss or gradients that were not finite.
        """
        history: list[EpochRow] = []
        best_state, best_epoch, best_score = self._best_weights(), 0, float("-inf")
        for epoch in range(1, self.parameters.epochs + 1):
            row = self._epoch(epoch, train_batches, val_batches)
            history.append(row)
            self.tracker.log_metrics({k: v for k, v in row.model_dump().items() if k != "epoch"}, step=epoch)
            logger.info(
                "epoch %d of %d: loss %.3f, validation loss %.3f, %s %.3f, %.0f samples/s",
                epoch,
                self.parameters.epochs,
                row.train_loss,
                row.val_loss,
                self.objective.score_name,
                row.val_score,
                row.samples_per_second,
            )
            if row.val_score > best_score:
                best_state, best_epoch, best_score = self._best_weights(), epoch, row.val_score
            self._keep_checkpoint(epoch)
            if self.parameters.patience and epoch - best_epoch >= self.parameters.patience:
                logger.info("no better score for %d epochs: stopped early", self.parameters.patience)
                break
        return TrainingResult(best_state, best_epoch, best_score, tuple(history))

    def step(self, window: list[Batch]) -> tuple[float, Tensor | None]:
        """Do one optimizer step on a window of micro-batches; give the summed loss and the gradient's norm.

        Every micro-batch's summed loss is divided by the number of samples in the WHOLE window, so that unequal sizes
        and a short last window give exactly the gradient of the one big batch. A step whose loss or gradients are not
        finite is skipped whole, and its norm is None. Where memory runs out, the same window is done again in smaller
        micro-batches, as if nothing had been.

        Raises:
            TrainingError: it does not fit with one sample at a time, or memory ran out in the optimizer itself.
        """
        self.module.train()
        set_learning_rate(self.optimizer, self._learning_rate())
        self.recorder.step_begins(self._step)
        computed = self.recovery.run("train", lambda pieces: self._gradients(list(pieces(window))))
        return computed.loss_sum, computed.norm if self._update(computed) else None

    def _gradients(self, micro_batches: list[Batch]) -> _Gradients:
        # All that may fail and be done again: nothing here touches weights or the optimizer, or there is no way back.
        total = sum(self.objective.count(batch) for batch in micro_batches)
        losses = []
        for position, batch in enumerate(micro_batches, start=1):
            with self._no_gradient_sync(last=position == len(micro_batches)):
                with offloaded() if self.plan.offload else nullcontext():
                    loss = self.objective.loss_sum(self.module, batch, self.accelerator.device)
                if self._in_backward and self.plan.optimizer_in_backward:
                    return self._stepped_in_backward(self._in_backward, loss / total, loss.item())
                self.accelerator.backward(loss / total)
            losses.append(loss.detach())
        loss_sum = torch.stack(losses).sum().item()
        norm = self._clipped_norm()
        # A scaler looks at the gradients itself, and lowers its scale; without one they are looked at here.
        scaled = self.accelerator.scaler is not None
        return _Gradients(loss_sum, norm.detach(), math.isfinite(loss_sum) and (scaled or bool(norm.isfinite())))

    def _stepped_in_backward(self, steps: StepsInBackward, loss: Tensor, loss_sum: float) -> _Gradients:
        if not math.isfinite(loss_sum):  # nothing was stepped yet
            return _Gradients(loss_sum, loss.detach(), finite=False)
        step = self._step
        with (
            self.recovery.no_way_back(f"in the backward pass of step {step}, which has stepped some weights"),
            steps.on(),
        ):
            self.accelerator.backward(loss)
        norm = steps.norm()
        if not norm.isfinite():
            raise TrainingError(
                f"the gradients of optimizer step {step} were not finite, and the weights were stepped with them, as "
                "the optimizer runs in the backward pass: set plan.optimizer_in_backward to never, which skips such "
                "steps, or lower train.learning_rate"
            )
        return _Gradients(loss_sum, norm, finite=True, applied=True)

    def _clipped_norm(self) -> Tensor:
        weights, limit = self.module.parameters(), self.parameters.max_gradient_norm
        if limit is not None:
            return self.accelerator.clip_grad_norm_(weights, limit)
        self.accelerator.unscale_gradients(self.optimizer)
        return nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])

    def _update(self, computed: _Gradients) -> bool:
        stepped = computed.finite
        if stepped and not computed.applied:
            with self.recovery.no_way_back(f"inside optimizer step {self._step}, which may have changed some weights"):
                self.optimizer.step()
            stepped = not self.accelerator.optimizer_step_was_skipped
        if stepped and self.average:
            self.average.update()
        if not computed.finite and self.accelerator.scaler is not None:
            self.accelerator.scaler.update()
        self._step += 1
        self.optimizer.zero_grad(set_to_none=True)
        return stepped

    def _epoch(self, epoch: int, train_batches: DataLoader[Batch], val_batches: DataLoader[Batch]) -> EpochRow:
        learning_rate = self._learning_rate()
        train_meter, val_meter = self.meters
        begun = time.perf_counter()
        with train_meter, self.recorder.phase("train"):
            sums = self.train_epoch(epoch, train_batches)
        trained = time.perf_counter()
        with val_meter, self.recorder.phase("validate"), self._kept_weights():
            result = self._validate(val_batches)
        norm, largest = sums.norm()
        return EpochRow(
            epoch=epoch,
            train_loss=sums.loss / max(1, sums.count),
            val_loss=result["loss"],
            val_score=result["score"],
            learning_rate=learning_rate,
            gradient_norm=norm,
            gradient_norm_max=largest,
            skipped_steps=sums.skipped,
            seconds=trained - begun,
            val_seconds=time.perf_counter() - trained,
            samples_per_second=sums.count / (trained - begun),
        )

    def _validate(self, batches: DataLoader[Batch]) -> dict[str, float]:
        return self.recovery.run(
            "validate",
            lambda pieces: self.objective.evaluate(
                self.module, pieces(track(batches, "validating")), self.accelerator.device
            ),
        )

    def train_epoch(self, epoch: int, batches: DataLoader[Batch]) -> EpochSums:
        """Do one epoch's optimizer steps; give what they add up to.

        Raises:
            TrainingError: too many steps in a row were not finite.
        """
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        sums = EpochSums()
        steps = -(-len(batches) // self._loaded_accumulation)
        for window in track(windows(batches, self._loaded_accumulation), f"epoch {epoch}", total=steps):
            loss, norm = self.step(window)
            if norm is None:
                self._skip(sums, window, loss)
                continue
            self._skipped_in_a_row = 0
            sums.loss += loss
            sums.count += sum(self.objective.count(batch) for batch in window)
            sums.norms.append(norm)
        return sums

    def _skip(self, sums: EpochSums, window: list[Batch], loss: float) -> None:
        sums.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row < self.parameters.max_skipped_steps:
            return
        samples = [int(i) for batch in window for i in batch["indices"]][:8]
        raise TrainingError(
            f"{self._skipped_in_a_row} optimizer steps in a row had a loss or gradients that were not finite (the last "
            f"loss: {loss}); the last window began with the samples {samples} of the store. Lower "
            "train.learning_rate, set plan.precision to bf16 or fp32, or look at these samples."
        )

    def _no_gradient_sync(self, *, last: bool) -> AbstractContextManager[None]:
        # Several processes exchange gradients once a window, not once a micro-batch.
        return nullcontext() if last else self.accelerator.no_sync(self.module)

    def _learning_rate(self) -> float:
        return learning_rate_at(self._step, num_steps=self._steps, parameters=self.parameters)

    def _kept_weights(self) -> AbstractContextManager[None]:
        return self.average.in_place() if self.average else nullcontext()

    def _weights(self) -> dict[str, Tensor]:
        state = self.accelerator.unwrap_model(self.module).state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def _best_weights(self) -> dict[str, Tensor]:
        with self._kept_weights():
            return self._weights()

    def _keep_checkpoint(self, epoch: int) -> None:
        if self.checkpoints is None:
            return
        state = {"epoch": epoch, "step": self._step, "model": self._weights()}
        if self.average:
            state["average"] = self._best_weights()
        save_checkpoint(self.checkpoints, {**state, "optimizer": self.optimizer.state_dict()})


def windows(batches: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Group consecutive batches; the last group may be shorter."""
    iterator = iter(batches)
    while window := list(islice(iterator, size)):
        yield window
