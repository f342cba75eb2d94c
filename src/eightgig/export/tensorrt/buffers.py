"""Memory for an engine's inputs and outputs: taken once, for the largest shapes, and used for every run."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from eightgig.core.errors import ExportError
from eightgig.export.tensorrt.records import EngineTensor, Shape

# TensorRT wants addresses that are multiples of 256, which is what torch's allocator gives on CUDA.
_SMALLEST_BYTES = 256


class Buffers:
    """One block of memory a tensor.

    Args:
        tensors: the engine's inputs and outputs, with the dtypes it reads and writes.
        largest: by name, the shape with the most elements.
        device: where they lie.

    Raises:
        ExportError: a dtype that torch does not have, or a shape that is not known beforehand.
    """

    def __init__(self, tensors: Sequence[EngineTensor], largest: dict[str, Shape], device: str | torch.device) -> None:
        self._dtypes = {tensor.name: torch_dtype(tensor) for tensor in tensors}
        self._blocks: dict[str, Tensor] = {}
        for name, dtype in self._dtypes.items():
            size = max(prod(_known(name, largest[name])) * dtype.itemsize, _SMALLEST_BYTES)
            self._blocks[name] = torch.empty(size, dtype=torch.uint8, device=device)

    @property
    def size_bytes(self) -> int:
        """All blocks together."""
        return sum(block.nbytes for block in self._blocks.values())

    def address(self, name: str) -> int:
        """Return where the tensor begins; it stays there."""
        return self._blocks[name].data_ptr()

    def view(self, name: str, shape: Shape) -> Tensor:
        """Return the beginning of the block as a tensor of `shape`, without copying."""
        dtype = self._dtypes[name]
        used = self._blocks[name][: prod(shape) * dtype.itemsize]
        return used.view(dtype).view(shape)


def torch_dtype(tensor: EngineTensor) -> torch.dtype:
    """Return torch's dtype of an input or output. ExportError where torch has none of that name."""
    dtype = getattr(torch, tensor.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise ExportError(
            f"tensor {tensor.name} is {tensor.dtype}, which torch does not hold. Cast it to a type that it has "
            "inside the ONNX file."
        )
    return dtype


def _known(name: str, shape: Shape) -> Shape:
    if any(size < 0 for size in shape):
        raise ExportError(
            f"output {name} has a shape {shape} that depends on values and not only on the inputs' shapes: its memory "
            "cannot be taken beforehand. Export the network without that step (for example NonMaxSuppression)."
        )
    return shape
