"""PyTorch in eager mode as a Runner: the reference that all other runners are compared with."""

from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from eightgig.export.runners import Images, Logits

_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}


class TorchRunner:
    """Runs a module in eval mode; on leaving, the module is on its old device and in its old mode again."""

    def __init__(self, module: nn.Module, device: str | torch.device = "cpu", *, name: str = "torch") -> None:
        first = next(module.parameters())
        self.name = name
        self.device = str(torch.device(device))
        self.precision = _PRECISIONS[first.dtype]
        self._module, self._dtype, self._home = module, first.dtype, first.device
        self._training = [part for part in module.modules() if part.training]

    def __enter__(self) -> Self:
        self._module.to(self.device).eval()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._module.to(self._home)
        for part in self._training:
            part.training = True

    def describe(self) -> dict[str, Any]:
        """Give the version, threads and, on CUDA, the card."""
        card = {"card": torch.cuda.get_device_name(self.device)} if self.device.startswith("cuda") else {}
        threads = {"num_threads": torch.get_num_threads()}
        return {"runtime": "torch eager", "version": torch.__version__, "precision": self.precision} | threads | card

    @torch.inference_mode()
    def run(self, images_N3HW: Images) -> Logits:
        """Give logits_NK float32; copying them to the host waits for the device."""
        writeable = np.require(images_N3HW, np.float32, ["C", "W"])  # torch warns of read-only memory
        images = torch.from_numpy(writeable).to(self.device, self._dtype)
        logits: Logits = self._module(images).float().cpu().numpy().astype(np.float32, copy=False)
        return logits
