"""The steps that are traced: one optimizer step of training, one pass of validation, on the fake accelerator."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

from eightgig.core.errors import ConfigurationError
from eightgig.core.lone_samples import LoneSamples
from eightgig.vram.allocator.events import AllocationTrace
from eightgig.vram.plan import Precision
from eightgig.vram.runtime.autocast import HALF, autocast_forward, plain_forward
from eightgig.vram.runtime.buffers import BufferCopies
from eightgig.vram.runtime.in_backward import StepsInBackward
from eightgig.vram.runtime.offload import ActivationOffload
from eightgig.vram.runtime.recompute import blocks_of
from eightgig.vram.tracing.attention import fused_attention
from eightgig.vram.tracing.compiled import noting_compiled, refuse_compiled
from eightgig.vram.tracing.fake_device import DEVICE, fake_device
from eightgig.vram.tracing.optimizers import make_optimizer
from eightgig.vram.tracing.options import StepOptions, ZeroGrad
from eightgig.vram.tracing.quantized import quantized_kernels
from eightgig.vram.tracing.recurrent import fused_cells, remark_of
from eightgig.vram.tracing.repetition import HeldGradients, Unchanged
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.subclasses import on_device
from eightgig.vram.tracing.timeline import repeat_last_step
from eightgig.vram.tracing.tracer import Tracer
from eightgig.vram.tracing.workload import Workload, skip_initialization


def trace_spec(spec: WorkloadSpec, options: StepOptions) -> AllocationTrace:
    """Return the trace of a workload that is built for it, without values.

    Raises:
        ConfigurationError: the workload cannot be built.
    """
    with skip_initialization():
        workload = spec.build()
    return trace_step(workload, options)


def trace_step(workload: Workload, options: StepOptions) -> AllocationTrace:
    """Return the trace of three steps from an empty card on; in the first the optimizer makes its state.

    Costs are of one micro-batch and one optimizer step. The module loses its values: build a workload for each trace.
    """
    with fake_device(), _without_collections():
        return _trace(workload, options)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Collect garbage only where it is asked for: a fifth of the time, and what cycles hold goes at the same moment."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()  # so that a collection looks only at what was made since
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


def _trace(workload: Workload, options: StepOptions) -> AllocationTrace:
    tracer = Tracer()
    module = _prepared(workload, options)
    refuse_compiled(module)
    if said := remark_of(module):
        tracer.remark(said)
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        fused_attention(options.attention),
        fused_cells(),
        quantized_kernels(tracer.remark),
        noting_compiled(tracer.remark),
        tracer,
        torch.device(DEVICE),
    ):
        _move(module, HALF.get(options.weights))
        tracer.categorize_live("parameters")  # with what stands beside quantized weights
        copies = BufferCopies(module)
        if options.copies_buffers:
            copies.take()
            tracer.categorize(copies.tensors, "parameters")
        with tracer.naming(module):
            if options.phase == "train":
                _Training(workload, module, options, tracer).run()
            else:
                _validate(workload, module, options, tracer)
    trace = repeat_last_step(tracer.trace()) if options.phase == "train" else tracer.trace()
    norms = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    return replace(trace, has_batch_norm=norms, largest_block=_largest_block(module))


def _largest_block(module: nn.Module) -> int:
    blocks = [{id(weight): weight.nbytes for weight in block.parameters()} for block in blocks_of(module)]
    inside = set().union(*blocks)
    outside = sum({id(w): w.nbytes for w in module.parameters() if id(w) not in inside}.values())
    return max(outside, *(sum(block.values()) for block in blocks), 0)


def _prepared(workload: Workload, options: StepOptions) -> nn.Module:
    module = workload.checkpoint(workload.module, options.activation_checkpointing)
    if options.channels_last:
        module = module.to(memory_format=torch.channels_last)
    return module.train(options.phase == "train")


def _move(module: nn.Module, dtype: torch.dtype | None) -> None:
    # As `module.to(device)` does, tied weights staying tied; done by hand, for weights cannot change type in place.
    moved: dict[int, Tensor] = {}
    for part in module.modules():
        held: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
        for tensors in held:
            for name, tensor in tensors.items():
                if tensor is not None:
                    if id(tensor) not in moved:
                        moved[id(tensor)] = on_device(tensor, dtype)
                    tensors[name] = moved[id(tensor)]


@dataclass
class _Training:
    """Two optimizer steps: in the first the optimizer makes its state, the second is as all later ones."""

    workload: Workload
    module: nn.Module
    options: StepOptions
    tracer: Tracer

    def run(self) -> None:
        self._weights = [weight for weight in self.module.parameters() if weight.requires_grad]
        self._check_scaling()
        self._optimizer = make_optimizer(self._weights, self.options)
        self._offload = ActivationOffload(self.module)
        ahead = [self._batch() for _ in range(self.options.prefetched_batches)]
        with LoneSamples(self.module).through(self.options.micro_batch):
            step = self._step_in_backward if self.options.optimizer_in_backward else self._step
            step()
        self.tracer.step_boundary()
        del ahead

    def _check_scaling(self) -> None:
        if self.options.precision == "fp16" and any(weight.dtype == torch.float16 for weight in self._weights):
            raise ConfigurationError(
                "trainable weights are in float16, and a gradient scaler unscales no float16 gradients: train with "
                "precision fp32 or bf16, or keep these weights in float32"
            )

    def _step(self) -> None:
        before = Unchanged(self.tracer, self.module, new="optimizer")
        self.tracer.step_boundary()
        self._micro_steps()
        made = self.tracer.here()
        self._step_optimizer(records_costs=False)
        gradients = HeldGradients(self.tracer, self._weights)
        self._release("after_step", gradients)
        self.tracer.step_boundary()
        is_made_again = before and gradients.make_again(before.begin, made)
        del gradients  # which nobody but the weights may hold
        if not is_made_again:
            self.tracer.forget_costs()
            self._micro_steps()
        self._step_optimizer(records_costs=True)
        self._release("after_step")

    def _micro_steps(self) -> None:
        for position in range(2 if self.options.accumulates else 1):
            with self._costs(position == 0):
                self._micro_step(releases=position == 0)

    def _step_optimizer(self, *, records_costs: bool) -> None:
        with self.tracer.phase("optimizer"), self._costs(records_costs):
            self._optimize()

    def _step_in_backward(self) -> None:
        steps = StepsInBackward(
            self._optimizer, watch=lambda weight: self.tracer.categorize((weight.grad,), "gradients")
        )
        with self.tracer.phase("optimizer"), torch.device("cpu"):  # as the trainer does before its first step
            for weight in self._weights:
                weight.grad = torch.zeros_like(weight)
                steps.step(weight)
            self._categorize_state()
        with steps.on():
            for is_last in (False, True):  # the norms of all gradients stay until the next step
                self.tracer.step_boundary()
                with self._costs(is_last):
                    self._micro_step(releases=False)
                self._release("after_step")

    @contextmanager
    def _costs(self, records: bool) -> Iterator[None]:
        self.tracer.records_costs = records
        yield
        self.tracer.records_costs = False

    def _micro_step(self, *, releases: bool) -> None:
        with self.tracer.phase("forward"):
            batch = self._batch()
            with self._offload.saving() if self.options.offload else nullcontext():
                loss = self._loss(batch)
            del batch
        self.tracer.categorize_live("activations")
        if releases:
            self._release("before_backward")
        with self.tracer.phase("backward"):
            loss.backward()
            del loss
        self.tracer.categorize((weight.grad for weight in self._weights), "gradients")

    def _release(self, when: ZeroGrad, gradients: HeldGradients | None = None) -> None:
        if when == self.options.zero_grad:
            with self.tracer.phase("release"):
                self._optimizer.zero_grad(set_to_none=True)
                if gradients is not None:
                    gradients.let_go()
        if when == "after_step":
            gc.collect()  # what cycles hold goes here, and not at another moment in each run

    def _batch(self) -> Any:
        return _make_batch(self.workload, self.options, self.tracer)

    def _loss(self, batch: Any) -> Tensor:
        with _autocast(self.module, self.options.precision):
            loss = self.workload.loss(self.module, batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = f"a tensor of {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ConfigurationError(
                f"the loss gave {found}; expected one number to train on, such as the sum of its parts"
            )
        return loss * torch.ones((), device=DEVICE) if self.options.precision == "fp16" else loss

    def _optimize(self) -> None:
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        if self.options.precision == "fp16":  # what GradScaler.unscale_ does to all gradients at once
            scale = torch.ones((), device=DEVICE)
            torch._amp_foreach_non_finite_check_and_unscale_(gradients, torch.zeros((), device=DEVICE), scale)
        if self.options.clips_gradients:
            nn.utils.clip_grad_norm_(self._weights, 1.0, foreach=True)
        with torch.device("cpu"):  # where step counters of foreach kernels are
            self._optimizer.step()
        self._categorize_state()

    def _categorize_state(self) -> None:
        state = (value for values in self._optimizer.state.values() for value in values.values())
        self.tracer.categorize((value for value in state if isinstance(value, Tensor)), "optimizer")


def _validate(workload: Workload, module: nn.Module, options: StepOptions, tracer: Tracer) -> None:
    evaluate = workload.evaluate or workload.loss

    def once() -> None:
        tracer.records_costs = True
        with tracer.phase("validate"), torch.no_grad(), _autocast(module, options.precision):
            evaluate(module, _make_batch(workload, options, tracer))

    before = Unchanged(tracer, module)
    once()
    if before:
        before.repeat()
    else:
        tracer.forget_costs()
        once()


def _make_batch(workload: Workload, options: StepOptions, tracer: Tracer) -> Any:
    def place(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        leaf = leaf if leaf.device.type == DEVICE else leaf.to(DEVICE)
        leaf = leaf.to(HALF.get(options.weights, leaf.dtype)) if leaf.is_floating_point() else leaf
        return leaf.to(memory_format=torch.channels_last) if options.channels_last and leaf.dim() == 4 else leaf

    batch = tree_map(place, workload.batch(options.micro_batch))
    tracer.categorize((leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)), "batch")
    return batch


@contextmanager
def _autocast(module: nn.Module, precision: Precision) -> Iterator[None]:
    """Run the module as training does, and the loss as most loops have it: its ops take float32 where they need it.

    The project's own objectives turn what they need into float32 themselves, so the outer autocast changes nothing for
    them; a user's own loss may count on it.
    """
    dtype = HALF.get(precision)
    if dtype is None:
        yield
        return
    autocast_forward(module, DEVICE, precision)
    try:
        with torch.autocast(DEVICE, dtype=dtype):
            yield
    finally:
        plain_forward(module)
