"""A network in training with its optimizer and what belongs to them, and how a checkpoint keeps them."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from eightgig.training.average import WeightAverage
from eightgig.training.checkpointing.checkpoint import size_of
from eightgig.training.distributed.parallel import Parallel
from eightgig.training.loss_scale import LossScale
from eightgig.training.optim import build_optimizer
from eightgig.training.optimizer_warm_up import warm_up_optimizer_state
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.autocast import plain_forward
from eightgig.vram.runtime.in_backward import StepsInBackward


class TrainState:
    """All that an optimizer step changes, but for what recovery changes of the plan.

    Args:
        module: on the CPU; moved to the plan's device.

    Attributes:
        module: as accelerate runs it; `optimizer` likewise.
        average: the moving average of the weights; None without one.
        loss_scale: of fp16; None in other precisions.
        in_backward: the optimizer in the backward pass, where the plan began with that.
        num_steps: optimizer steps done.
    """

    def __init__(self, module: nn.Module, plan: MemoryPlan, parameters: TrainParameters) -> None:
        self.parallel = Parallel(plan, parameters)
        self.accelerator, self.process_group = self.parallel.accelerator, self.parallel.process_group
        if plan.memory_format == "channels_last":
            module = module.to(memory_format=torch.channels_last)
        module = self.parallel.sharded(self.parallel.cut(module).to(self.accelerator.device))
        self._plain_optimizer = build_optimizer(module, parameters, plan)
        self.module, self.optimizer = self.parallel.prepared(module, self._plain_optimizer)
        self.average = None
        if parameters.ema_decay is not None:
            self.average = WeightAverage(self.module, decay=parameters.ema_decay, ramp_steps=parameters.ema_ramp_steps)
        self.loss_scale = LossScale(self.accelerator.scaler) if self.accelerator.scaler is not None else None
        self.in_backward = StepsInBackward(self._plain_optimizer) if plan.optimizer_in_backward else None
        self.num_steps = 0

    def warm_up_optimizer(self) -> None:
        """Make the optimizer's state, and take once what its step takes; no weight changes."""
        warm_up_optimizer_state(self._plain_optimizer, self.in_backward)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors; every process has to call it.

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
            "weights": self.parallel.whole_weights(self.unwrapped),
            "optimizer": self.parallel.whole_optimizer(self.unwrapped, self.optimizer),
            "average": average,
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def num_bytes(self) -> int:
        """Return about how many bytes `state_dict` takes on the disk."""
        weights = size_of(self.unwrapped.state_dict())
        return weights * (2 if self.average else 1) + size_of(self.optimizer.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, in this process or another, or in another number of them.

        Raises:
            CheckpointError: it is of another network.
        """
        self.num_steps = state["num_steps"]
        if self.average and state["average"]:
            with self.average.in_place():
                self.parallel.load_weights(self.unwrapped, state["average"]["weights"])
            self.average.num_steps = state["average"]["num_steps"]
        self.parallel.load_weights(self.unwrapped, state["weights"])
        self.parallel.load_optimizer(self.unwrapped, self.optimizer, state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.loss_scale:
            self.loss_scale.read()
            self.loss_scale.falls = state["loss_scale_falls"]

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights and buffers, on the CPU; every process has to call it."""
        return self.parallel.copied_weights(self.unwrapped)

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Let the module hold what is validated and kept: the average, where there is one."""
        return self.average.in_place() if self.average else nullcontext()

    @property
    def unwrapped(self) -> nn.Module:
        """The network itself."""
        return self.parallel.unwrapped(self.module)

    def close(self) -> None:
        """Free the device's memory: the network is on the CPU again, as it came; nothing can be trained any more.

        What accelerate wraps is cycles of references, which would keep weights and optimizer state on the card until
        Python happens to look for them.
        """
        module = self.unwrapped
        plain_forward(module)
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        self.average = None
        if not self.parallel.shards:
            module.to("cpu")
        self.accelerator.free_memory()
