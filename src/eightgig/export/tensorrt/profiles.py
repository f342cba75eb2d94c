"""Inputs and outputs of a parsed network, and the range of shapes that an engine takes."""

from collections.abc import Iterable
from typing import Any

from eightgig.core.errors import ExportError
from eightgig.export.tensorrt.records import BatchProfile, EngineRequest, EngineTensor, Shape, ShapeProfile

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}  # others are called as in numpy


def read_inputs(network: Any, request: EngineRequest) -> tuple[EngineTensor, ...]:
    """Return the inputs with the range that `request` sets for their free dimensions.

    Raises:
        ExportError: an input's range is missing or does not fit it, or one is set for an input that is not there.
    """
    inputs = [_tensor(network.get_input(index)) for index in range(network.num_inputs)]
    unknown = set(request.shapes) - {tensor.name for tensor in inputs}
    if unknown:
        raise ExportError(
            f"wanted shapes for the inputs {_names(inputs)}, found some for {', '.join(sorted(unknown))}. "
            "Name the inputs as the ONNX file does."
        )
    return tuple(tensor.model_copy(update={"profile": _profile(tensor, request)}) for tensor in inputs)


def read_outputs(network: Any) -> tuple[EngineTensor, ...]:
    """Return the outputs; their free dimensions follow from the inputs."""
    return tuple(_tensor(network.get_output(index)) for index in range(network.num_outputs))


def dtype_name(datatype: Any) -> str:
    """Return TensorRT's DataType as numpy and torch call it, for example `float16`."""
    return _DTYPES.get(datatype.name, datatype.name.lower())


def describe_profile(profile: ShapeProfile) -> str:
    """Write the range for a person: `1x3x300x300 to 8x3x300x300`."""
    return f"{_shape(profile.smallest)} to {_shape(profile.largest)}"


def fits(shape: Shape, tensor: EngineTensor) -> bool:
    """Tell whether the engine takes an input of this shape."""
    if tensor.profile is None:
        return shape == tensor.shape
    lowest, highest = tensor.profile.smallest, tensor.profile.largest
    if len(shape) != len(lowest):
        return False
    return all(low <= size <= high for low, size, high in zip(lowest, shape, highest, strict=True))


def _tensor(tensor: Any) -> EngineTensor:
    return EngineTensor(name=tensor.name, dtype=dtype_name(tensor.dtype), shape=tuple(tensor.shape))


def _profile(tensor: EngineTensor, request: EngineRequest) -> ShapeProfile | None:
    free = [position for position, size in enumerate(tensor.shape) if size < 0]
    if tensor.name in request.shapes:
        return _checked(tensor, request.shapes[tensor.name])
    if not free:
        return None
    if free != [0]:
        raise ExportError(
            f"input {tensor.name} {_shape(tensor.shape)} has free dimensions beside the batch: give its smallest, "
            "usual and largest shape in `shapes`."
        )
    return _of_batches(tensor.shape[1:], request.batch)


def _of_batches(rest: Shape, batch: BatchProfile) -> ShapeProfile:
    return ShapeProfile(smallest=(batch.smallest, *rest), usual=(batch.usual, *rest), largest=(batch.largest, *rest))


def _checked(tensor: EngineTensor, profile: ShapeProfile) -> ShapeProfile:
    shapes = (profile.smallest, profile.usual, profile.largest)
    is_ordered = all(_in_order(sizes) for sizes in zip(*shapes, strict=False))
    if not is_ordered or any(not _matches(shape, tensor.shape) for shape in shapes):
        raise ExportError(
            f"input {tensor.name} is {_shape(tensor.shape)}: wanted smallest <= usual <= largest of that form, found "
            f"{', '.join(map(_shape, shapes))}."
        )
    return profile


def _in_order(sizes: Iterable[int]) -> bool:
    ordered = list(sizes)
    return ordered == sorted(ordered)


def _matches(shape: Shape, form: Shape) -> bool:
    return len(shape) == len(form) and all(wanted in (-1, size) for size, wanted in zip(shape, form, strict=True))


def _shape(shape: Shape) -> str:
    return "x".join("?" if size < 0 else str(size) for size in shape) or "scalar"


def _names(tensors: Iterable[EngineTensor]) -> str:
    return ", ".join(tensor.name for tensor in tensors)
