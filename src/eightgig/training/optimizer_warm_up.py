"""The optimizer's first step, with zeros: its memory is taken before training begins, and no weight changes."""

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from eightgig.vram.runtime.in_backward import StepsInBackward


def warm_up_optimizer_state(optimizer: Optimizer, in_backward: StepsInBackward | None = None) -> None:
    """Make the optimizer's state and take once what its step takes, so that a shortage shows before the first step.

    A step half done cannot be undone: with the state made beforehand, the first real one allocates nothing that lasts.
    The warm-up steps with gradients of zero at a rate of zero, and then sets the state to what it is before any
    step: weights, step counts, moments and random numbers are exactly as before. An optimizer that already has state
    is left alone. One that steps in the backward pass does so here, too, with one gradient at a time.
    """
    if optimizer.state:
        return
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    try:
        _step_with_zeros(optimizer, in_backward)
    finally:
        optimizer.zero_grad(set_to_none=True)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
    _as_before_any_step(optimizer)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # what the warm-up took shall not stand in the way of the real thing


def _step_with_zeros(optimizer: Optimizer, in_backward: StepsInBackward | None) -> None:
    for weight in (weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad):
        weight.grad = torch.zeros_like(weight)
        if in_backward is not None:
            in_backward.step(weight)
    if in_backward is None:
        optimizer.step()


def _as_before_any_step(optimizer: Optimizer) -> None:
    if not _starts_from_zeros(optimizer):
        optimizer.state.clear()  # it will be made again by the first step, where the warm-up showed that it fits
        return
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()


def _starts_from_zeros(optimizer: Optimizer) -> bool:
    """Tell whether state of zeros is the same as none: SGD's dampening spares only a momentum that is not there yet."""
    if isinstance(optimizer, SGD):
        return all(group["dampening"] == 0 for group in optimizer.param_groups)
    return isinstance(optimizer, Adam | AdamW)
