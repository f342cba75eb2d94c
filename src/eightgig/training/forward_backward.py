"""Gradients of a window of micro-batches: what of an optimizer step may run out of memory and be done again."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eightgig.core.errors import TrainingError
from eightgig.core.lone_samples import NO_VARIANCE, LoneSamples
from eightgig.core.seeding import seed_from, seed_step
from eightgig.training.batch_splitter import BatchSplitter, rows_of
from eightgig.training.distributed.pipelined import PipelinedNetwork
from eightgig.training.distributed.sharding import full_tensor
from eightgig.training.objective import Batch, Objective
from eightgig.training.parameters import TrainParameters
from eightgig.training.recovery import Recovery
from eightgig.training.train_state import TrainState
from eightgig.vram.runtime.in_backward import StepsInBackward
from eightgig.vram.runtime.offload import ActivationOffload


@dataclass(frozen=True)
class WindowGradients:
    """What one window gives, before the optimizer steps; it must not step when they are not `finite`."""

    loss_sum: float
    norm: float
    applied: bool = False
    """Whether the weights were stepped in the backward pass."""

    @property
    def finite(self) -> bool:
        """Whether loss and norm are numbers."""
        return math.isfinite(self.loss_sum) and math.isfinite(self.norm)


class ForwardBackward:
    """Forward and backward passes of a window's micro-batches.

    Nothing here touches weights or the optimizer, so that a failed attempt can be undone; the optimizer in the backward
    pass is the exception, and out of memory in it is fatal.

    Args:
        recovery: knows the plan as it is carried out, and what is fatal.
        loaded_batch: samples of a micro-batch as it is loaded.

    Attributes:
        lone_samples: which layers met a sample by itself.
    """

    def __init__(
        self,
        state: TrainState,
        objective: Objective,
        *,
        recovery: Recovery,
        parameters: TrainParameters,
        loaded_batch: int,
    ) -> None:
        self._state, self._objective, self._recovery, self._parameters = state, objective, recovery, parameters
        self._loaded_batch = loaded_batch
        self._offload = ActivationOffload(state.module)
        self.lone_samples = LoneSamples(state.module)
        self._last_batch: Batch | None = None

    def __call__(self, batches: Sequence[Batch], count: int, splitter: BatchSplitter) -> WindowGradients:
        """Leave the window's gradients in the weights; return its summed loss and the gradients' norm.

        Args:
            batches: micro-batches of this process.
            count: samples of the window in all processes together.
            splitter: cuts micro-batches to what fits.
        """
        state = self._state
        seeded = list(self._seeded(batches, splitter))
        if not seeded:
            return self._zero_gradients()
        if state.parallel.pipelined is not None:
            return self._clipped(self._pipelined(state.parallel.pipelined, seeded, count))
        losses = []
        for position, (seed, batch) in enumerate(seeded, start=1):
            seed_step(seed)
            with self._exchanging(batch, last=position == len(seeded)), _lone_sample_error():
                with self._offload.saving() if self._recovery.plan.offload else nullcontext():
                    loss = self._objective.loss_sum(state.module, batch, state.accelerator.device)
                share = loss * (state.process_group.num_shares / count)
                if state.in_backward and self._recovery.plan.optimizer_in_backward:
                    return self._step_in_backward(state.in_backward, share, loss.item())
                state.accelerator.backward(share)
            losses.append(loss.detach())
        self._last_batch = batches[-1]
        return self._clipped(torch.stack(losses).sum())

    def _pipelined(self, pipelined: PipelinedNetwork, seeded: Sequence[tuple[int, Batch]], count: int) -> Tensor:
        with self.lone_samples.through(min(rows_of(batch) for _, batch in seeded)), _lone_sample_error():
            return pipelined.run(seeded, self._objective, scale=1 / count)

    def _seeded(self, batches: Sequence[Batch], splitter: BatchSplitter) -> Iterator[tuple[int, Batch]]:
        """Yield what goes through the network at a time, with a seed for it."""
        splitter.begin()
        ranks = self._state.process_group
        for number, batch in enumerate(batches):
            before = (number * ranks.num_shares + ranks.share) * self._loaded_batch  # in the window of all
            for piece in splitter.of(batch):
                yield seed_from(self._parameters.seed, "step", self._state.num_steps, before), piece
                before += rows_of(piece)

    @contextmanager
    def _exchanging(self, batch: Batch, *, last: bool) -> Iterator[None]:
        """Run passes of a batch in this block; gradients are exchanged if it is the last of its window."""
        state = self._state
        with state.parallel.gradient_sync(state.module, last=last), self.lone_samples.through(rows_of(batch)):
            yield

    def _zero_gradients(self) -> WindowGradients:
        """Take part in the exchange of gradients with zeros: the last window has no micro-batch for this process."""
        state = self._state
        if self._last_batch is None:
            raise TrainingError(
                f"process {state.process_group.index} of {state.process_group.count} never gets a micro-batch: there "
                "are too few training samples for train.distributed.nproc_per_node"
            )
        with self._exchanging(self._last_batch, last=True):
            loss = self._objective.loss_sum(state.module, self._last_batch, state.accelerator.device)
            state.accelerator.backward(loss * 0.0)
        self._recovery.snapshot.restore()
        return self._clipped(loss.new_zeros(()))

    def _clipped(self, loss_sum: Tensor) -> WindowGradients:
        """Clip, and read what decides whether the optimizer steps: the only wait for the card in a step.

        With a scaler the gradients are unscaled by now, and those that overflowed have left a norm that is not finite.
        The scaler's own check would not do: it calls a fused optimizer's step always, and that decides on the card.
        """
        norm = full_tensor(self._clipped_norm()).detach()
        own_loss, norm_value = torch.stack([loss_sum.double(), norm.double()]).tolist()
        (loss,) = self._state.process_group.summed(own_loss)
        return WindowGradients(loss, norm_value)

    def _clipped_norm(self) -> Tensor:
        accelerator, max_norm = self._state.accelerator, self._parameters.max_grad_norm
        if self._state.parallel.pipelined is not None:
            return self._state.parallel.pipelined.clip(max_norm)
        weights = self._state.module.parameters()
        if max_norm is not None:
            return accelerator.clip_grad_norm_(weights, max_norm)
        accelerator.unscale_gradients(self._state.optimizer)
        return nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])

    def _step_in_backward(self, steps: StepsInBackward, loss: Tensor, loss_sum: float) -> WindowGradients:
        if not math.isfinite(loss_sum):  # nothing was stepped yet
            return WindowGradients(loss_sum, math.nan)
        step = self._state.num_steps
        with (
            self._recovery.fatal_oom(f"in the backward pass of step {step}, which has stepped some weights"),
            steps.on(),
        ):
            self._state.accelerator.backward(loss)
        norm = steps.norm().item()
        if not math.isfinite(norm):
            raise TrainingError(
                f"the gradients of optimizer step {step} were not finite, and the weights were stepped with them, as "
                "the optimizer runs in the backward pass: set plan.optimizer_in_backward to never, which skips such "
                "steps, or lower train.learning_rate"
            )
        return WindowGradients(loss_sum, norm, applied=True)


@contextmanager
def _lone_sample_error() -> Iterator[None]:
    """Say what to do where a layer of the user's own has no statistics to take for a sample by itself."""
    try:
        yield
    except ValueError as error:
        if NO_VARIANCE not in str(error):
            raise
        raise TrainingError(
            f"a layer normalises over the batch, and cannot with one sample ({error}): it keeps no running statistics. "
            "Take a train.batch_size that leaves no sample over and a micro-batch of 2 or more, or another layer."
        ) from error
