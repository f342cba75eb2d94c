"""A freshly built network takes the shapes of a pruned one's weights, so that a plain state dict is all one keeps."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from eightgig.core.errors import WeightsError
from eightgig.models.heads import head_names

Shape = tuple[int, ...]
_Reshape = Callable[[Any, Mapping[str, Shape]], bool]


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Return the shape of every tensor by its name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def fit_to_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Make the layers of `module` as narrow as the tensors of `state`, in place; values are not loaded.

    Convolutions (also depthwise and grouped), linear layers, batch and layer normalisation are understood. Layers that
    have their shape already are left alone.

    Raises:
        WeightsError: names differ, a layer would grow, the head would have other classes, or a shape has no reason.
    """
    fit_to_shapes(module, shapes_of(state))


def fit_to_shapes(module: nn.Module, shapes: Mapping[str, Shape]) -> None:
    """Do as `fit_to_state` does, from the shapes alone."""
    wanted = shapes_of(module.state_dict())
    _refuse_other_names(module, wanted, shapes)
    _refuse_other_classes(module, wanted, shapes)
    for name, part in module.named_modules():
        own = [key for key in (*part._parameters, *part._buffers) if _dotted(name, key) in shapes]
        new = {key: tuple(shapes[_dotted(name, key)]) for key in own}
        old = {key: wanted[_dotted(name, key)] for key in own}
        if new != old:
            _narrow(part, name, old, new)


def _dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _refuse_other_names(module: nn.Module, wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
    missing, left_over = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or left_over:
        raise WeightsError(
            f"wanted the weights of {type(module).__name__}, found others: missing {_few(missing)}; left over "
            f"{_few(left_over)}. Build the network that the weights' card names."
        )


def _refuse_other_classes(module: nn.Module, wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
    for name in filter(None, head_names(module)):
        weight = f"{name}.weight"
        if weight in wanted and found[weight][:1] != wanted[weight][:1]:
            raise WeightsError(
                f"the head `{name}`: wanted {wanted[weight][0]} classes, found {found[weight][0]}. "
                "Build the network with as many classes as the weights' card lists."
            )


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "none"
    return f"{shown}, and {len(names) - 3} more" if len(names) > 3 else shown


def _narrow(part: nn.Module, name: str, old: Mapping[str, Shape], new: Mapping[str, Shape]) -> None:
    reshape = next((how for kind, how in _KINDS.items() if isinstance(part, kind)), None)
    if reshape is None or not all(_is_narrower(new[key], old[key]) for key in old) or not reshape(part, new):
        raise WeightsError(
            f"`{name}` ({type(part).__name__}): the shapes {dict(new)} cannot come from removing channels of "
            f"{dict(old)}. The weights belong to another network, or to another version of it."
        )
    for key, shape in new.items():
        _replace(part, key, shape)


def _is_narrower(new: Shape, old: Shape) -> bool:
    return len(new) == len(old) and all(0 < left <= before for left, before in zip(new, old, strict=True))


def _replace(part: nn.Module, key: str, shape: Shape) -> None:
    if (weight := part._parameters.get(key)) is not None:
        part._parameters[key] = nn.Parameter(weight.new_zeros(shape), requires_grad=weight.requires_grad)
    elif (buffer := part._buffers.get(key)) is not None:
        part._buffers[key] = buffer.new_zeros(shape)


def _convolution(layer: nn.Conv2d, shapes: Mapping[str, Shape]) -> bool:
    out_channels, in_of_group, *kernel = shapes["weight"]
    if layer.groups > 1 and layer.groups == layer.in_channels:  # depthwise: a group goes with its channel
        multiplier = layer.out_channels // layer.in_channels
        groups = out_channels // multiplier
    else:
        multiplier, groups = 1, layer.groups
    layer_fits = tuple(kernel) == tuple(layer.kernel_size) and out_channels % groups == out_channels % multiplier == 0
    layer.out_channels, layer.in_channels, layer.groups = out_channels, in_of_group * groups, groups
    return layer_fits and shapes.get("bias", (out_channels,)) == (out_channels,)


def _linear(layer: nn.Linear, shapes: Mapping[str, Shape]) -> bool:
    layer.out_features, layer.in_features = shapes["weight"]
    return shapes.get("bias", (layer.out_features,)) == (layer.out_features,)


def _batch_norm(layer: nn.BatchNorm2d, shapes: Mapping[str, Shape]) -> bool:
    lengths = {shape for key, shape in shapes.items() if key != "num_batches_tracked"}
    if len(lengths) == 1:
        (layer.num_features,) = lengths.pop()
    return not lengths


def _layer_norm(layer: nn.LayerNorm, shapes: Mapping[str, Shape]) -> bool:
    lengths = set(shapes.values())
    if len(lengths) == 1:
        layer.normalized_shape = lengths.pop()
    return not lengths and len(layer.normalized_shape) == 1


_KINDS: dict[type[nn.Module], _Reshape] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.modules.batchnorm._BatchNorm: _batch_norm,
    nn.LayerNorm: _layer_norm,
}


def same_outputs(first: nn.Module, second: nn.Module, example_input: Tensor) -> bool:
    """Return whether two networks, of one output or several, give the very same numbers in evaluation mode."""
    with torch.no_grad():
        outputs = tree_leaves(first.eval()(example_input)), tree_leaves(second.eval()(example_input))
    return all(torch.equal(*pair) for pair in zip(*outputs, strict=True))
