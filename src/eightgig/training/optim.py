"""The optimizer, and the learning rate as a pure function of the step."""

import importlib.util
import math
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from eightgig.core.device import DeviceKind
from eightgig.core.errors import ConfigurationError
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import MemoryPlan, OptimizerName


def learning_rate_at(step: int, *, num_steps: int, parameters: TrainParameters) -> float:
    """Return the learning rate of optimizer step `step` (from 0) of `num_steps`.

    It rises linearly over the warm-up, reaching `learning_rate` on its last step, and then falls by half a cosine,
    reaching `final_learning_rate` as the step after the last.
    """
    warmup = round(parameters.warmup_fraction * num_steps)
    if step < warmup:
        return parameters.learning_rate * (step + 1) / warmup
    if parameters.schedule == "constant":
        return parameters.learning_rate
    done = min(1.0, (step - warmup) / max(1, num_steps - warmup))
    span = parameters.learning_rate - parameters.final_learning_rate
    return parameters.final_learning_rate + span * (1 + math.cos(math.pi * done)) / 2


def build_optimizer(module: nn.Module, parameters: TrainParameters, plan: MemoryPlan) -> Optimizer:
    """Return the optimizer that the plan names, with the kernel that it counts on.

    Biases and normalisation weights (one dimension) are not decayed: decay there only shrinks scales.

    Raises:
        ConfigurationError: it does not run here.
    """
    check_optimizer(plan.optimizer, plan.device)
    groups = [
        {"params": weights, "weight_decay": parameters.weight_decay if weights[0].ndim > 1 else 0.0}
        for weights in decay_groups(module)
    ]
    if plan.optimizer == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        optimizer: Optimizer = AdamW8bit(groups, lr=parameters.learning_rate)
        return optimizer
    fused = plan.optimizer_kernel == "fused"
    options: dict[str, Any] = {"lr": parameters.learning_rate, "fused": fused, "foreach": not fused}
    if plan.optimizer == "sgd":
        return SGD(
            groups, momentum=parameters.momentum, nesterov=parameters.nesterov and parameters.momentum > 0, **options
        )
    return (Adam if plan.optimizer == "adam" else AdamW)(groups, **options)


def decay_groups(module: nn.Module) -> list[list[nn.Parameter]]:
    """Return the weights that are trained: those that are decayed, and those of one dimension; no group is empty."""
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    groups = [w for w in trained if w.ndim > 1], [w for w in trained if w.ndim <= 1]
    return [group for group in groups if group]


def check_optimizer(name: OptimizerName, device: DeviceKind) -> None:
    """Raise where an optimizer cannot run.

    Raises:
        ConfigurationError: `adamw8bit` on the CPU, or without bitsandbytes.
    """
    if name != "adamw8bit":
        return
    if device != "cuda":
        raise ConfigurationError(
            "train.optimizer: adamw8bit runs on an NVIDIA GPU alone, and this run is on the CPU: take adamw"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigurationError(
            "train.optimizer: adamw8bit wants the package bitsandbytes, which is not installed: "
            "pip install 'eightgig[adamw8bit]', or take adamw"
        )


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Make all groups step with this rate from now on.

    The rate is a function of the step alone, so there is no schedule object whose state could go astray.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
