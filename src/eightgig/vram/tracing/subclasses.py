"""What weights take on the card: plain ones by shape and type, subclassed ones by what they become there."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import _disable_current_modes, is_traceable_wrapper_subclass

from eightgig.core.errors import ConfigurationError
from eightgig.vram.tracing.fake_device import DEVICE

TakesOnCard = Callable[[Any, torch.dtype], Tensor]
"""From a weight on the CPU, and the type that it is cast to first, to what it is on the card.

Called under a fake mode, with the card as the default device.
"""

_PLAIN: tuple[type, ...] = (Tensor, nn.Parameter, nn.Buffer, FakeTensor)
_registered: dict[str, TakesOnCard] = {}


def takes_on_card(kind: str, function: TakesOnCard) -> None:
    """Say what the weights of a class become on the card.

    Args:
        kind: the class as `package.module.Class`, so that its library need not be imported.
        function: makes what such a weight is on the card, of new tensors; `as_weight` keeps what is set on the weight.
    """
    _registered[kind] = function


def on_device(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a weight or a buffer as it is on the card.

    Args:
        tensor: as the module holds it on the CPU.
        dtype: of floating ones, as `module.to(dtype)` makes it; None leaves it as it is.

    Raises:
        ConfigurationError: it is of a class whose memory is not known.
    """
    kind = type(tensor)
    cast = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    known = next((_registered[name] for name in _names_of(kind) if name in _registered), None)
    if known is not None:
        return known(tensor, cast)
    if kind in _PLAIN:
        made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=cast, device=DEVICE)
        return as_weight(tensor, made)
    if is_traceable_wrapper_subclass(tensor):
        return as_weight(tensor, _rebuilt(tensor, cast))
    raise ConfigurationError(_refusal(tensor))


def as_weight(original: Tensor, made: Tensor, **attributes: Any) -> Tensor:
    """Return a tensor of the card in the place of a weight: a parameter where that is one, with what it carries.

    Args:
        original: on the CPU.
        made: on the card.
        attributes: that are others there than on the CPU.
    """
    if isinstance(original, nn.Parameter):
        made = nn.Parameter(made, requires_grad=original.requires_grad)
    if type(original) not in _PLAIN and not is_traceable_wrapper_subclass(original):
        vars(made).update({**vars(original), **attributes})
    return made


def parts_of(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the plain tensors that hold a tensor's memory: itself, or those that a subclass wraps."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from parts_of(getattr(tensor, name))


def _names_of(kind: type) -> Iterator[str]:
    return (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)


def _rebuilt(tensor: Any, dtype: torch.dtype) -> Tensor:
    if dtype != tensor.dtype:
        with _disable_current_modes():  # the class itself says what is cast of it
            tensor = tensor.to(dtype)
    names, context = tensor.__tensor_flatten__()
    inner = {name: on_device(getattr(tensor, name)) for name in names}
    made: Tensor = type(tensor).__tensor_unflatten__(inner, context, tensor.shape, tensor.stride())
    return made


def _refusal(tensor: Tensor) -> str:
    name = next(_names_of(type(tensor)))
    if is_lazy(tensor):
        return f"a weight is a {name}, which has no shape yet: run the module once on a batch before it is given"
    return (
        f"a weight is a {name}, and what that takes on the card is not known. Wanted: a plain parameter, a tensor "
        "subclass with __tensor_flatten__, or a class that eightgig.vram.tracing.subclasses.takes_on_card was told of"
    )
