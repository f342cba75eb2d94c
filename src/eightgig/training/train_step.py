"""One optimizer step on a window of micro-batches: as a plan says, and in smaller pieces where memory runs out."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from eightgig.core.errors import TrainingError
from eightgig.core.lone_samples import NO_VARIANCE, LoneSamples
from eightgig.core.seeding import seed_from, seed_step
from eightgig.core.tracker import Tracker
from eightgig.training.average import WeightAverage
from eightgig.training.checkpoint import size_of
from eightgig.training.loss_scale import LossScale
from eightgig.training.objective import Batch, Objective
from eightgig.training.optim import build_optimizer, learning_rate_at, set_learning_rate
from eightgig.training.optimizer_warm_up import warm_up_optimizer_state
from eightgig.training.parallel import Parallel
from eightgig.training.parameters import TrainParameters
from eightgig.training.process_group import buffers_of
from eightgig.training.recovery import BatchSplitter, Recovery, reset_gradients, rows_of
from eightgig.training.sharding import full, gathered, laid_out, whole
from eightgig.vram.plan import Finding, MemoryPlan
from eightgig.vram.runtime.autocast import plain_forward
from eightgig.vram.runtime.diagnosis import Recovered
from eightgig.vram.runtime.in_backward import StepsInBackward
from eightgig.vram.runtime.offload import ActivationOffload
from eightgig.vram.runtime.recorder import FlightRecorder

_LONE_SAMPLE, _MOST_LAYERS = "VRAM104", 4


@contextmanager
def _lone_samples_told() -> Iterator[None]:
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


@dataclass(frozen=True)
class _Gradients:
    """What one window gives, before the optimizer steps; it must not step when they are not `finite`."""

    loss_sum: float
    norm: float
    applied: bool = False
    """Whether the weights were stepped in the backward pass."""

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss_sum) and math.isfinite(self.norm)


class Stepper:
    """A network with its optimizer, and what belongs to them.

    All that a step draws at random is decided by the seed, the step's number, and how many samples of the window lie
    before those that go through the network: so no state of a generator needs to be kept, it does not matter which
    process does what, and smaller pieces give what a plan with smaller micro-batches would have given.

    Args:
        module: on the CPU; moved to the plan's device.
        steps: optimizer steps of all epochs, for the schedule of the learning rate.
        recorder: notes what memory does; None notes it for this object alone.

    Attributes:
        num_steps: optimizer steps done.

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
        recorder: FlightRecorder | None = None,
    ) -> None:
        self.parallel = Parallel(plan, parameters)
        self.accelerator, self.ranks = self.parallel.accelerator, self.parallel.ranks
        if plan.memory_format == "channels_last":
            module = module.to(memory_format=torch.channels_last)
        module = self.parallel.sharded(module.to(self.accelerator.device))
        optimizer = build_optimizer(module, parameters, plan)
        self.module, self.optimizer = self.parallel.prepared(module, optimizer)
        self.average = None
        if parameters.ema_decay is not None:
            self.average = WeightAverage(self.module, decay=parameters.ema_decay, ramp_steps=parameters.ema_ramp_steps)
        self.objective, self.parameters, self.tracker = objective, parameters, tracker
        self._steps, self.num_steps = steps, 0
        self.recorder = recorder or FlightRecorder(plan)
        self.recovery = Recovery(
            plan,
            self.module,
            recorder=self.recorder,
            tracker=tracker,
            forget=partial(reset_gradients, self.accelerator, self.optimizer),
            num_processes=self.ranks.count,
        )
        self.loss_scale = LossScale(self.accelerator.scaler) if self.accelerator.scaler is not None else None
        self._offload = ActivationOffload(self.module)
        self._lone = LoneSamples(self.module)
        self._exchanged = buffers_of(self.module) if self.ranks.count > 1 else []
        self._loaded_batch = plan.micro_batch
        self._spare: Batch | None = None
        self._in_backward = StepsInBackward(optimizer) if plan.optimizer_in_backward else None
        with self.recovery.fatal_oom("before the first step: the optimizer's state and its step do not fit"):
            warm_up_optimizer_state(optimizer, self._in_backward)

    @property
    def plan(self) -> MemoryPlan:
        """The plan as it is carried out now: with the smaller micro-batch, once memory ran out."""
        return self.recovery.plan

    @property
    def recovered(self) -> tuple[Recovered, ...]:
        """Each time memory ran out and training went on."""
        return tuple(self.recovery.recovered)

    def step(self, batches: Sequence[Batch], *, count: int | None = None) -> tuple[float, float | None]:
        """Do one optimizer step on a window of micro-batches; give the window's summed loss and the gradient's norm.

        Every micro-batch's summed loss is divided by the number of samples in the WHOLE window, so that unequal sizes
        and a short last window give exactly the gradient of the one big batch. A step whose loss or gradients are not
        finite is skipped whole, and its norm is None: BatchNorm's statistics are as before it, too. Where memory runs
        out, the same window is done again in smaller micro-batches, as if nothing had been.

        Args:
            batches: micro-batches of this process; of several processes the last window may have none for some.
            count: samples of the window in all processes together; None counts those of `batches`.

        Raises:
            TrainingError: it does not fit with one sample at a time, or memory ran out in the optimizer itself.
        """
        self.module.train()
        set_learning_rate(self.optimizer, self.learning_rate())
        self.recorder.step_begins(self.num_steps)
        count = sum(self.objective.count(batch) for batch in batches) if count is None else count
        computed = self.recovery.run("train", lambda pieces: self._gradients(batches, count, pieces))
        self._update(computed)
        self._tell_of_lone_samples()
        if not computed.finite:
            self.recovery.before.restore()
        self.ranks.average_buffers(self._exchanged)
        if computed.finite and self.average:
            self.average.update()
        if self.parameters.empty_cache_every and self.num_steps % self.parameters.empty_cache_every == 0:
            self.recorder.empty_cache()
        return computed.loss_sum, computed.norm if computed.finite else None

    def learning_rate(self) -> float:
        """Return the rate of the next step."""
        return learning_rate_at(self.num_steps, num_steps=self._steps, parameters=self.parameters)

    def state(self) -> dict[str, Any]:
        """Return all that changes in training, as plain values and tensors; every process has to call it.

        The tensors are those of training, not copies: they are to be saved before the next step.
        """
        average = None
        if self.average:
            with self.average.in_place():
                average = {"weights": self.weights(), "num_steps": self.average.num_steps}
        scaler = self.accelerator.scaler
        return {
            "num_steps": self.num_steps,
            "loss_scale_falls": self.loss_scale.falls if self.loss_scale else 0,
            "weights": gathered(self.parallel.unwrapped(self.module).state_dict()),
            "optimizer": gathered(self.optimizer.state_dict()),
            "average": average,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "recovery": self.recovery.state(),
        }

    def state_bytes(self) -> int:
        """Return about how many bytes `state` takes on the disk."""
        weights = size_of(self.parallel.unwrapped(self.module).state_dict())
        return weights * (2 if self.average else 1) + size_of(self.optimizer.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave, in this process or another, or in another number of them.

        Raises:
            CheckpointError: it is of another network.
        """
        self.num_steps = state["num_steps"]
        if self.average and state["average"]:
            with self.average.in_place():
                self._load(state["average"]["weights"])
            self.average.num_steps = state["average"]["num_steps"]
        self._load(state["weights"])
        self.optimizer.load_state_dict(laid_out(state["optimizer"], self.optimizer))
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.loss_scale:
            self.loss_scale.read()
            self.loss_scale.falls = state["loss_scale_falls"]
        self.recovery.restore(state["recovery"])

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights and buffers, on the CPU; every process has to call it."""
        module = self.parallel.unwrapped(self.module)
        state: dict[str, Tensor] = whole(module.state_dict(keep_vars=True))  # so that tied weights are one tensor
        return state

    def kept_weights(self) -> AbstractContextManager[None]:
        """Let the module hold what is validated and kept: the average, where there is one."""
        return self.average.in_place() if self.average else nullcontext()

    def close(self) -> None:
        """Free the device's memory: the network is on the CPU again, as it came; nothing can be trained any more.

        What accelerate wraps is cycles of references, which would keep weights and optimizer state on the card until
        Python happens to look for them.
        """
        module = self.parallel.unwrapped(self.module)
        plain_forward(module)
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        self.average = None
        if not self.parallel.shards:
            module.to("cpu")
        self.accelerator.free_memory()

    def _load(self, weights: dict[str, Tensor]) -> None:
        module = self.parallel.unwrapped(self.module)
        self.parallel.load_weights(module, weights)

    def _gradients(self, batches: Sequence[Batch], count: int, pieces: BatchSplitter) -> _Gradients:
        # All that may fail and be done again: nothing here touches weights or the optimizer, or there is no way back.
        seeded = list(self._seeded(batches, pieces))
        if not seeded:
            return self._nothing_to_do()
        losses = []
        for position, (seed, batch) in enumerate(seeded, start=1):
            seed_step(seed)
            with (
                self.parallel.gradient_sync(self.module, last=position == len(seeded)),
                self._lone.through(rows_of(batch)),
                _lone_samples_told(),
            ):
                with self._offload.saving() if self.plan.offload else nullcontext():
                    loss = self.objective.loss_sum(self.module, batch, self.accelerator.device)
                share = loss * (self.ranks.count / count)
                if self._in_backward and self.plan.optimizer_in_backward:
                    return self._stepped_in_backward(self._in_backward, share, loss.item())
                self.accelerator.backward(share)
            losses.append(loss.detach())
        self._spare = batches[-1]
        return self._checked(torch.stack(losses).sum())

    def _seeded(self, batches: Sequence[Batch], pieces: BatchSplitter) -> Iterator[tuple[int, Batch]]:
        """Yield what goes through the network at a time, with a seed for it."""
        pieces.begin()
        for number, batch in enumerate(batches):
            before = (number * self.ranks.count + self.ranks.index) * self._loaded_batch  # in the window of all
            for piece in pieces.of(batch):
                yield seed_from(self.parameters.seed, "step", self.num_steps, before), piece
                before += rows_of(piece)

    def _nothing_to_do(self) -> _Gradients:
        """Take part in the exchange of gradients with zeros: the last window has no micro-batch for this process."""
        if self._spare is None:
            raise TrainingError(
                f"process {self.ranks.index} of {self.ranks.count} never gets a micro-batch: there are too few "
                "training samples for train.distributed.nproc_per_node"
            )
        with self.parallel.gradient_sync(self.module, last=True), self._lone.through(rows_of(self._spare)):
            loss = self.objective.loss_sum(self.module, self._spare, self.accelerator.device)
            self.accelerator.backward(loss * 0.0)
        self.recovery.before.restore()
        return self._checked(loss.new_zeros(()))

    def _tell_of_lone_samples(self) -> None:
        """Say once in a run, also in one that goes on, that BatchNorm met a sample by itself."""
        layers = self._lone.layers
        if layers and not any(finding.code == _LONE_SAMPLE for finding in self.recovery.findings):
            shown = ", ".join(layers[:_MOST_LAYERS]) + (", ..." if len(layers) > _MOST_LAYERS else "")
            message = (
                "a sample went through the network by itself: where it is one value a channel, BatchNorm takes its "
                f"running statistics ({len(layers)} layers: {shown}). The sample counts like any other; a "
                "train.batch_size that leaves none over avoids it"
            )
            self.recovery.tell(Finding(code=_LONE_SAMPLE, message=message))

    def _checked(self, loss_sum: Tensor) -> _Gradients:
        """Clip, and read what decides whether the optimizer steps: the only wait for the card in a step.

        With a scaler the gradients are unscaled by now, and those that overflowed have left a norm that is not finite.
        The scaler's own check would not do: it calls a fused optimizer's step always, and that decides on the card.
        """
        norm = full(self._clipped_norm()).detach()
        own_loss, norm_value = torch.stack([loss_sum.double(), norm.double()]).tolist()
        (loss,) = self.ranks.summed(own_loss)
        return _Gradients(loss, norm_value)

    def _stepped_in_backward(self, steps: StepsInBackward, loss: Tensor, loss_sum: float) -> _Gradients:
        if not math.isfinite(loss_sum):  # nothing was stepped yet
            return _Gradients(loss_sum, math.nan)
        step = self.num_steps
        with (
            self.recovery.fatal_oom(f"in the backward pass of step {step}, which has stepped some weights"),
            steps.on(),
        ):
            self.accelerator.backward(loss)
        norm = steps.norm().item()
        if not math.isfinite(norm):
            raise TrainingError(
                f"the gradients of optimizer step {step} were not finite, and the weights were stepped with them, as "
                "the optimizer runs in the backward pass: set plan.optimizer_in_backward to never, which skips such "
                "steps, or lower train.learning_rate"
            )
        return _Gradients(loss_sum, norm, applied=True)

    def _clipped_norm(self) -> Tensor:
        weights, limit = self.module.parameters(), self.parameters.max_grad_norm
        if limit is not None:
            return self.accelerator.clip_grad_norm_(weights, limit)
        self.accelerator.unscale_gradients(self.optimizer)
        return nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])

    def _step_optimizer(self) -> None:
        scaler = self.accelerator.scaler
        if scaler is None:
            self.optimizer.step()
            return
        self.optimizer.optimizer.step()  # the scaler's own `step` would read again what the norm has told
        scaler.update()

    def _update(self, computed: _Gradients) -> None:
        """Step, and let the scaler draw its conclusions; both without waiting for the card."""
        if computed.finite and not computed.applied:
            with self.recovery.fatal_oom(
                f"inside optimizer step {self.num_steps}, which may have changed some weights"
            ):
                self._step_optimizer()
        elif not computed.finite and self.accelerator.scaler is not None:
            self.accelerator.scaler.update()
        if self.loss_scale and (finding := self.loss_scale.after_step(stepped=computed.finite)):
            self.recovery.tell(finding)
        self.num_steps += 1
        self.optimizer.zero_grad(set_to_none=True)
