"""torch.compile as a Runner: kernels made for this network on this machine, with the weights frozen into them."""

import warnings
from typing import Any, Self

import torch
from torch import Tensor, nn

from eightgig.core.errors import ExportError
from eightgig.export.runners import Feeds
from eightgig.export.torch_runner import TorchRunner


class TorchCompileRunner(TorchRunner):
    """Runs a module through torch.compile; opening it compiles, which takes from seconds to minutes.

    On the CPU the weights are frozen (Inductor may then fold and reorder them) and, where the CPU multiplies bfloat16
    in hardware, matrix layers run in bfloat16. On CUDA, calls are replayed as CUDA graphs, and networks of images are
    compiled for tensors that are channels last (see TorchRunner).

    Args:
        module: as in TorchRunner.
        example: inputs to compile for; a second batch size makes the batch dynamic.
        device: as in TorchRunner; the other arguments too.

    Raises:
        ExportError: on entering, where there is no compiler or the network cannot be compiled.
    """

    def __init__(self, module: nn.Module, example: Feeds, device: str | torch.device = "cpu", **options: Any) -> None:
        super().__init__(module, device, **{"name": "torch_compile"} | options)
        self._example = example
        self._autocasts = self.device == "cpu" and self.precision == "fp32" and multiplies_bf16()
        if self._autocasts:
            self.computes_in = "bf16"
        self._compiled: Any = None

    def __enter__(self) -> Self:
        super().__enter__()
        self._compiled = torch.compile(self._module, **_settings(self.device))
        try:
            self.run(self._example)
        except Exception as error:
            # Inductor raises errors of many kinds (no compiler, a missing operator); none of them may end a benchmark.
            self.__exit__(None, None, None)
            reason = str(error).strip().splitlines()
            raise ExportError(
                f"torch.compile: cannot compile {type(self._module).__name__} here "
                f"({reason[0] if reason else type(error).__name__}). On the CPU it needs a C++ compiler (g++)."
            ) from error
        return self

    def __exit__(self, *reason: Any) -> None:
        self._compiled = None
        torch.compiler.reset()
        super().__exit__(*reason)

    def describe(self) -> dict[str, Any]:
        """Return what TorchRunner gives, and how it was compiled."""
        return (
            super().describe() | {"runtime": "torch.compile", "computes_in": self.computes_in} | _settings(self.device)
        )

    def _call(self, inputs: list[Tensor]) -> Any:
        with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16, enabled=self._autocasts):
            warnings.simplefilter("ignore")  # Inductor's own, while it compiles
            return self._compiled(*inputs)


def multiplies_bf16() -> bool:
    """Tell whether this CPU multiplies bfloat16 in hardware (AMX or AVX-512 BF16)."""
    known = torch.cpu.get_capabilities()
    return bool(known.get("amx_bf16") or known.get("avx512_bf16"))


def _settings(device: str) -> dict[str, Any]:
    return {"mode": "reduce-overhead"} if device.startswith("cuda") else {"options": {"freezing": True}}
