"""One optimizer step on a window of micro-batches: as a plan says, and in smaller pieces where memory runs out."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from eightgig.core.tracker import Tracker
from eightgig.training.distributed.process_group import buffers_of
from eightgig.training.forward_backward import ForwardBackward, WindowGradients
from eightgig.training.objective import Batch, Objective
from eightgig.training.optim import learning_rate_at, set_learning_rate
from eightgig.training.parameters import TrainParameters
from eightgig.training.recovery import Recovery, reset_gradients
from eightgig.training.train_state import TrainState
from eightgig.vram.plan import Finding, MemoryPlan
from eightgig.vram.runtime.recorder import FlightRecorder

_LONE_SAMPLE = "VRAM104"
_MAX_LAYERS = 4  # that a finding names: enough to find them, and it stays a sentence


class TrainStep:
    """Optimizer steps of one network, one after the other.

    All that a step draws at random is decided by the seed, the step's number, and how many samples of the window lie
    before those that go through the network: so no state of a generator needs to be kept, it does not matter which
    process does what, and smaller pieces give what a plan with smaller micro-batches would have given.

    Args:
        module: on the CPU; moved to the plan's device.
        steps: optimizer steps of all epochs, for the schedule of the learning rate.
        recorder: notes what memory does; None notes it for this object alone.

    Attributes:
        state: the network, its optimizer and what belongs to them.
        recovery: does again in smaller pieces what ran out of memory.

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
        self.state = state = TrainState(module, plan, parameters)
        self.recorder = recorder or FlightRecorder(plan)
        self.recovery = Recovery(
            plan,
            state.module,
            recorder=self.recorder,
            tracker=tracker,
            reset=partial(reset_gradients, state.accelerator, state.optimizer),
            num_processes=state.process_group.count,
        )
        self._forward_backward = ForwardBackward(
            state, objective, recovery=self.recovery, parameters=parameters, loaded_batch=plan.micro_batch
        )
        self._objective, self._parameters, self._num_steps = objective, parameters, steps
        self._synced_buffers = buffers_of(state.module) if state.process_group.num_shares > 1 else []
        with self.recovery.fatal_oom("before the first step: the optimizer's state and its step do not fit"):
            state.warm_up_optimizer()

    @property
    def plan(self) -> MemoryPlan:
        """The plan as it is carried out now: with the smaller micro-batch, once memory ran out."""
        return self.recovery.plan

    def run(self, batches: Sequence[Batch], *, count: int | None = None) -> tuple[float, float | None]:
        """Do one optimizer step on a window of micro-batches; return the window's summed loss and the gradient's norm.

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
        state = self.state
        state.module.train()
        set_learning_rate(state.optimizer, self.learning_rate())
        self.recorder.step_begins(state.num_steps)
        number = sum(self._objective.count(batch) for batch in batches) if count is None else count
        made = self.recovery.run("train", lambda splitter: self._forward_backward(batches, number, splitter))
        self._update(made)
        self._report_lone_samples()
        if not made.finite:
            self.recovery.snapshot.restore()
        state.process_group.average_buffers(self._synced_buffers)
        if made.finite and state.average:
            state.average.update()
        if self._parameters.empty_cache_every and state.num_steps % self._parameters.empty_cache_every == 0:
            self.recorder.empty_cache()
        return made.loss_sum, made.norm if made.finite else None

    def learning_rate(self) -> float:
        """Return the rate of the next step."""
        return learning_rate_at(self.state.num_steps, num_steps=self._num_steps, parameters=self._parameters)

    def state_dict(self) -> dict[str, Any]:
        """Return all that steps change, as plain values and tensors; every process has to call it."""
        return {**self.state.state_dict(), "recovery": self.recovery.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, in this process or another, or in another number of them.

        Raises:
            CheckpointError: it is of another network.
        """
        self.state.load_state_dict(state)
        self.recovery.load_state_dict(state["recovery"])

    def _update(self, made: WindowGradients) -> None:
        """Step, and let the scaler draw its conclusions; both without waiting for the card."""
        state = self.state
        if made.finite and not made.applied:
            with self.recovery.fatal_oom(
                f"inside optimizer step {state.num_steps}, which may have changed some weights"
            ):
                self._step_optimizer()
        elif not made.finite and state.accelerator.scaler is not None:
            state.accelerator.scaler.update()
        if state.loss_scale and (finding := state.loss_scale.after_step(stepped=made.finite)):
            self.recovery.report(finding)
        state.num_steps += 1
        state.optimizer.zero_grad(set_to_none=True)

    def _step_optimizer(self) -> None:
        scaler = self.state.accelerator.scaler
        if scaler is None:
            self.state.optimizer.step()
            return
        self.state.optimizer.optimizer.step()  # the scaler's own `step` would read again what the norm has told
        scaler.update()

    def _report_lone_samples(self) -> None:
        """Report once in a run, also in one that goes on, that BatchNorm met a sample by itself."""
        layers = self._forward_backward.lone_samples.layers
        if layers and not any(finding.code == _LONE_SAMPLE for finding in self.recovery.findings):
            shown = ", ".join(layers[:_MAX_LAYERS]) + (", ..." if len(layers) > _MAX_LAYERS else "")
            message = (
                "a sample went through the network by itself: where it is one value a channel, BatchNorm takes its "
                f"running statistics ({len(layers)} layers: {shown}). The sample counts like any other; a "
                "train.batch_size that leaves none over avoids it"
            )
            self.recovery.report(Finding(code=_LONE_SAMPLE, message=message))
