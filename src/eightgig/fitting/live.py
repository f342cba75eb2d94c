"""A live module with its loss and a batch, sent to the process that traces: as shapes, without its weights."""

import io
from collections.abc import Callable
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from eightgig.core.errors import ConfigurationError
from eightgig.vram.tracing.spec import WorkloadSpec

_KEPT_VALUES = 4096  # of smaller tensors values are kept: some networks read their tables while they compute


def live_spec(module: Any, loss: Any, batch: Any) -> tuple[WorkloadSpec, int]:
    """Return what is traced of a live module, and the samples of its batch.

    Args:
        module: a network.
        loss: called with it and a batch, it gives one number.
        batch: tensors in any nesting, whose first axis counts samples.

    Raises:
        ConfigurationError: one of the three is missing, or cannot be sent.
    """
    samples = _samples(module, loss, batch)
    shapes = tree_map(_shape_of, batch)
    return _spec(module, loss, lambda number: tree_map(lambda leaf: _filled(leaf, number), shapes)), samples


def _samples(module: Any, loss: Any, batch: Any) -> int:
    tensors = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim()]
    if not isinstance(module, nn.Module) or not callable(loss) or not tensors:
        raise ConfigurationError(
            "a live module is asked for as fit(module, loss=..., batch=...), with loss(module, batch) giving one "
            f"number and a batch of tensors; found {', '.join(type(each).__name__ for each in (module, loss, batch))}"
        )
    return len(tensors[0])


def _spec(module: nn.Module, loss: Callable[..., Any], make_batch: Callable[[int], Any]) -> WorkloadSpec:
    def make() -> tuple[nn.Module, Callable[..., Any], Callable[[int], Any]]:
        return module, loss, make_batch

    stream = io.BytesIO()
    try:
        _WithoutWeights(stream).dump(make)
    except Exception as error:
        raise ConfigurationError(
            f"{type(module).__name__} cannot be sent to the process that predicts ({error}): ask for it as "
            "package.module:make"
        ) from error
    pickled = stream.getvalue()
    return WorkloadSpec.of_pickled(f"{type(module).__module__}:{type(module).__name__}", pickled)


class _WithoutWeights(cloudpickle.Pickler):
    """Sends shapes in place of large tensors; tied ones stay tied, as pickle's memo has it."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how a tensor is made there."""
        if type(obj) in (Tensor, nn.Parameter) and (obj.numel() > _KEPT_VALUES or obj.device.type != "cpu"):
            is_weight = isinstance(obj, nn.Parameter)
            return _made, (tuple(obj.shape), obj.dtype, obj.requires_grad, is_weight)
        return super().reducer_override(obj)


def _made(shape: tuple[int, ...], dtype: torch.dtype, requires_grad: bool, is_weight: bool) -> Tensor:
    tensor = torch.empty(shape, dtype=dtype, device="meta")
    return nn.Parameter(tensor, requires_grad=requires_grad) if is_weight else tensor.requires_grad_(requires_grad)


def _shape_of(leaf: Any) -> Any:
    return leaf.detach().to("meta") if isinstance(leaf, Tensor) else leaf


def _filled(leaf: Any, samples: int) -> Any:
    """Return a leaf with so many samples, of zeros: indices are valid ones."""
    if not isinstance(leaf, Tensor):
        return leaf
    return torch.zeros((samples, *leaf.shape[1:]) if leaf.dim() else (), dtype=leaf.dtype)
