"""PyTorch in eager mode as a Runner: the reference that all other runners are compared with."""

from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from eightgig.core.errors import ExportError
from eightgig.export.runners import Array, Arrays, Feeds, require_inputs

_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}
MemoryFormat = Literal["channels_last", "contiguous"]


class TorchRunner:
    """Runs a module in eval mode; on leaving, the module is on its old device, in its old mode and layout again.

    On a GPU a network with convolutions of images has its weights and inputs channels last, as it trains: in half
    precision Tensor Cores want it so, and would turn every tensor around otherwise.

    Args:
        module: takes its inputs by position, in the order of `input_names`.
        device: where it runs.
        input_names: keys of the feeds.
        output_names: keys of what it gives, one a tensor.
        name: for tables.
    """

    def __init__(
        self,
        module: nn.Module,
        device: str | torch.device = "cpu",
        *,
        input_names: tuple[str, ...] = ("images",),
        output_names: tuple[str, ...] = ("logits",),
        name: str = "torch",
    ) -> None:
        first = next(module.parameters())
        self.name = name
        self.device = str(torch.device(device))
        self.precision = self.computes_in = _PRECISIONS[first.dtype]
        self._input_names, self._output_names = input_names, output_names
        self._module, self._dtype, self._home = module, first.dtype, first.device
        self.memory_format = _layout(module, self.device)
        self._training = [part for part in module.modules() if part.training]
        self._is_open = False

    def __enter__(self) -> Self:
        try:
            self._module.to(self.device).eval()
            if self.memory_format == "channels_last":
                self._module.to(memory_format=torch.channels_last)
        except BaseException:  # a full card may have taken some of it
            self.__exit__(None, None, None)
            raise
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        self._module.to(self._home)
        if self.memory_format == "channels_last":
            self._module.to(memory_format=torch.contiguous_format)
        for part in self._training:
            part.training = True

    def describe(self) -> dict[str, Any]:
        """Return the version, threads, the layout of tensors and, on CUDA, the card."""
        card = {"card": torch.cuda.get_device_name(self.device)} if self.device.startswith("cuda") else {}
        how = {"num_threads": torch.get_num_threads(), "memory_format": self.memory_format}
        return {"runtime": "torch eager", "version": torch.__version__, "precision": self.precision} | how | card

    @torch.inference_mode()
    def run(self, feeds: Feeds) -> Arrays:
        """Return the outputs by name; copying them to the host waits for the device."""
        if not self._is_open:
            raise ExportError(f"runner `{self.name}` is closed: call run inside its `with` block")
        require_inputs(self.name, self._input_names, feeds)
        given = self._call([self._to_device(feeds[name]) for name in self._input_names])
        outputs = (given,) if isinstance(given, Tensor) else tuple(given)
        return {name: _to_numpy(output) for name, output in zip(self._output_names, outputs, strict=True)}

    def _call(self, inputs: list[Tensor]) -> Any:
        return self._module(*inputs)

    def _to_device(self, array: Array) -> Tensor:
        tensor = torch.from_numpy(_readable(array)).to(self.device)
        tensor = tensor.to(self._dtype) if tensor.is_floating_point() else tensor
        as_images = self.memory_format == "channels_last" and tensor.dim() == 4
        return tensor.contiguous(memory_format=torch.channels_last if as_images else torch.contiguous_format)


def _layout(module: nn.Module, device: str) -> MemoryFormat:
    """Return `channels_last` for convolutions of images on a GPU; the CPU's kernels do well with either."""
    has_images = any(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in module.modules())
    return "channels_last" if has_images and device.startswith("cuda") else "contiguous"


def _readable(array: Array) -> Array:
    """Return the array in the order in which it lies in memory, copied where torch would refuse it or warn of it."""
    if any(stride < 0 for stride in array.strides):
        return np.ascontiguousarray(array)
    return array if array.flags.writeable else array.copy(order="K")


def _to_numpy(output: Tensor) -> Array:
    wide = output.float() if output.is_floating_point() else output
    return wide.contiguous().cpu().numpy()
