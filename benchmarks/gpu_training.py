"""The step that `eightgig.vram.tracing.steps` traces, for real: on a GPU, or on the CPU for a dry run."""

import importlib.util
import sys
import types
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

import eightgig
from eightgig.core.device import DeviceKind
from eightgig.vram.runtime.autocast import HALF, autocast_forward
from eightgig.vram.runtime.in_backward import StepsInBackward
from eightgig.vram.runtime.offload import ActivationOffload
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workload import Workload

_GUIDE = "eightgig.pipelines.gpu_guide"


def guide_workload(factory: str, options: dict[str, Any]) -> Workload:
    """Return a workload of the guide, in the predictor's child process and in a row's."""
    allow_guide_without_kedro()
    return WorkloadSpec(factory=factory, options=options).build()


def allow_guide_without_kedro() -> None:
    """Let the guide's modules be imported where Kedro is not installed: only its package's own file wants it."""
    if _GUIDE not in sys.modules and importlib.util.find_spec("kedro") is None:
        bare = types.ModuleType(_GUIDE)
        bare.__path__ = [str(Path(eightgig.__file__).parent / "pipelines" / "gpu_guide")]
        sys.modules[_GUIDE] = bare


class Training:
    """A network on its device, ready to step.

    Args:
        workload: its address, or itself, built already; it is used up.
        options: of the step.
        gradient_accumulation_steps: micro-batches a step.
        device: where it runs.
        compiles: whether the network and its loss go through torch.compile.
    """

    def __init__(
        self,
        workload: WorkloadSpec | Workload,
        options: StepOptions,
        *,
        gradient_accumulation_steps: int,
        device: DeviceKind,
        compiles: bool = False,
    ) -> None:
        self._workload = workload.build() if isinstance(workload, WorkloadSpec) else workload
        self._options, self._accumulation, self._device = options, gradient_accumulation_steps, device
        module = self._workload.checkpoint(self._workload.module, options.activation_checkpointing)
        if options.channels_last:
            module = module.to(memory_format=torch.channels_last)
        self._module = module.train().to(device)
        autocast_forward(self._module, device, options.precision)
        self._offload = ActivationOffload(self._module)
        self._weights = [weight for weight in self._module.parameters() if weight.requires_grad]
        self._optimizer = _optimizer(self._weights, options)
        self._in_backward = StepsInBackward(self._optimizer) if options.optimizer_in_backward else None
        self._loss = torch.compile(self._workload.loss) if compiles else self._workload.loss
        self._scaler = torch.amp.GradScaler(device, enabled=options.precision == "fp16")

    def step(self) -> Tensor:
        """Do one optimizer step; give the loss of its last micro-batch."""
        for _ in range(self._accumulation):
            loss = self._micro_step()
        if self._in_backward is not None:  # every weight was stepped when its gradient was whole
            return loss
        self._scaler.unscale_(self._optimizer)
        if self._options.clips_gradients:
            nn.utils.clip_grad_norm_(self._weights, 1.0, foreach=True)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return loss

    def _micro_step(self) -> Tensor:
        batch = self._batch()
        with self._attention(), self._mixed(), self._offload.saving() if self._options.offload else nullcontext():
            loss = self._loss(self._module, batch)
        del batch
        with self._attention(), self._in_backward.on() if self._in_backward else nullcontext():
            self._scaler.scale(loss / self._accumulation).backward()
        return loss.detach()

    def _mixed(self) -> AbstractContextManager[Any]:
        """The loss as the tracer runs it: its ops take float32 where they need it."""
        dtype = HALF.get(self._options.precision)
        return nullcontext() if dtype is None else torch.autocast(self._device, dtype=dtype)

    def _attention(self) -> AbstractContextManager[None]:
        return sdpa_kernel(SDPBackend.MATH) if self._options.attention == "eager" else nullcontext()

    def _batch(self) -> Any:
        with torch.device(self._device):
            made = self._workload.batch(self._options.micro_batch)
        return tree_map(self._placed, made)

    def _placed(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        leaf = leaf.to(self._device)
        leaf = leaf.normal_() if leaf.is_floating_point() else leaf  # the workload leaves whatever memory held
        return leaf.to(memory_format=torch.channels_last) if self._options.channels_last and leaf.dim() == 4 else leaf


def _optimizer(weights: list[nn.Parameter], options: StepOptions) -> torch.optim.Optimizer:
    if options.optimizer == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(weights, lr=1e-4)
    fused = options.optimizer_kernel == "fused"
    foreach = not fused
    if options.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=1e-3, momentum=0.9, weight_decay=1e-4, fused=fused, foreach=foreach)
    made = torch.optim.Adam if options.optimizer == "adam" else torch.optim.AdamW
    return made(weights, lr=1e-4, fused=fused, foreach=foreach)
