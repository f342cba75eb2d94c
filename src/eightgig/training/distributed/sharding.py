"""Whole tensors from those that are spread over processes, and back; plain tensors pass through."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer


def full_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor whole, where it is; every process has to call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local_tensor(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather(state: Any) -> Any:
    """Return the same structure with what is spread over processes whole, on the CPU; all else is not copied.

    Every process has to call it, with the same structure.
    """
    if isinstance(state, Tensor):
        return full_tensor(state.detach()).cpu() if isinstance(state, DTensor) else state.detach()
    return _mapped(gather, state)


def full_copy(state: Any, copies: dict[int, Tensor] | None = None) -> Any:
    """Return the same structure with every tensor whole, copied to the CPU; one that stands twice is copied once.

    Every process has to call it, with the same structure: what is spread is collected from all.

    Args:
        state: tensors and plain values in mappings, lists and tuples.
        copies: made so far, by the tensor's `id`; for the calls of this function by itself.
    """
    copies = {} if copies is None else copies
    if isinstance(state, Tensor):
        if id(state) not in copies:
            copies[id(state)] = full_tensor(state.detach()).to("cpu", copy=True)
        return copies[id(state)]
    return _mapped(partial(full_copy, copies=copies), state)


@torch.no_grad()
def copy_into(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy whole tensors into those of the same names; each process keeps its part."""
    for name, target in targets.items():
        target.copy_(_as(values[name], target))


def reshard(state: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimizer's whole state with what belongs to a spread weight spread in the same way."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    places = [place for group in state["param_groups"] for place in group["params"]]
    of_place = dict(zip(places, weights, strict=True))
    return {
        **state,
        "state": {
            place: {name: _like(value, of_place[place]) for name, value in values.items()}
            for place, values in state["state"].items()
        },
    }


def _mapped(function: Callable[[Any], Any], state: Any) -> Any:
    if isinstance(state, Mapping):
        return {key: function(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(function(value) for value in state)
    return state


def _like(value: Any, weight: Tensor) -> Any:
    return _as(value, weight) if isinstance(value, Tensor) and value.shape == weight.shape else value


def _as(value: Tensor, target: Tensor) -> Tensor:
    if not isinstance(target, DTensor):
        return value
    return distribute_tensor(value.to(target.device_mesh.device_type), target.device_mesh, target.placements)
