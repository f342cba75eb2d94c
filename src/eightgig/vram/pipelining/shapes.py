"""A pass of shapes alone through a network that may lack the weights of some parts: what flows between the parts."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from eightgig.vram.pipelining.flow import Call, Flow, TensorSpec, Value


class ShapePass(TorchDispatchMode):
    """Runs the parts on fake tensors, and the network's own code between them on zeros; notes what needs what.

    Args:
        mode: in which the parts run.

    Attributes:
        calls: so far.
    """

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()
        self._mode, self.calls = mode, list[Call]()
        self._sources: dict[int, frozenset[Value]] = {}
        self._layouts: dict[int, Tensor] = {}  # what a part gave, laid out as it will be: zeros have no layout
        self._overwritten: set[Value] = set()
        self._kept: list[Tensor] = []  # so that no id is given twice

    def call(self, name: str, part: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Note a call; return zeros of the shapes of what it would give."""
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        fakes = {id(tensor): self._entering(tensor) for tensor in given}
        versions = {id(tensor): fakes[id(tensor)]._version for tensor in given}
        fake_args, fake_kwargs = tree_map_only(Tensor, lambda tensor: fakes[id(tensor)], (args, kwargs))
        with _disable_current_modes(), self._mode:
            output = self._run(part, forward, fake_args, fake_kwargs)
        changed = [tensor for tensor in given if fakes[id(tensor)]._version != versions[id(tensor)]]
        position = len(self.calls)
        leaves, structure = tree_flatten(output)
        self.calls.append(
            Call(
                part=name,
                leaves=tuple(_spec(leaf) for leaf in leaves),
                structure=structure,
                needs=self.sources(given),
                overwrites=self.sources(changed) | frozenset(self._overwritten),
            )
        )
        self._overwritten.clear()
        device = given[0].device if given else torch.device("cpu")
        made = [placeholder(TensorSpec.of(leaf), device) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        for leaf, tensor in enumerate(made):
            if isinstance(tensor, Tensor):
                self._note(tensor, frozenset({Value(position, leaf)}))
                self._layouts[id(tensor)] = leaves[leaf]
        return tree_unflatten(made, structure)

    def flow(self, result: Any) -> Flow:
        """Return what was noted, and what the network's output needs."""
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        return Flow(tuple(self.calls), self.sources(tensors), frozenset(self._overwritten))

    def sources(self, tensors: Iterable[Tensor]) -> frozenset[Value]:
        """Return the outputs of parts that tensors are made of."""
        return frozenset().union(*(self._sources.get(id(tensor), frozenset()) for tensor in tensors))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an op of the network's own code, and note what its outputs are made of."""
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        sources = self.sources(given)
        if func._schema.is_mutable and sources:
            self._overwritten |= self.sources(given[:1])
            self._note(given[0], sources)
            return given[0]  # zeros that take no memory cannot be written to, and their values play no part
        output = func(*args, **kwargs)
        if sources:
            self._note_made(output, self._laid_out(func, args, kwargs), sources)
        return output

    def _laid_out(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return the op's outputs laid out as they will be; None where that depends on values."""
        fake_args, fake_kwargs = tree_map_only(Tensor, self._fake, (args, kwargs))
        try:
            with _disable_current_modes(), self._mode:
                return func(*fake_args, **fake_kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            return None

    def _note_made(self, output: Any, laid_out: Any, sources: frozenset[Value]) -> None:
        layouts = tree_leaves(laid_out)
        for number, leaf in enumerate(tree_leaves(output)):
            if isinstance(leaf, Tensor):
                self._note(leaf, sources)
                if number < len(layouts) and isinstance(layouts[number], Tensor):
                    self._layouts[id(leaf)] = layouts[number]

    def _entering(self, tensor: Tensor) -> Tensor:
        """Return what enters a part in a tensor's place."""
        return self._fake(tensor)

    def _run(self, part: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return _run(part, forward, self._mode, args, kwargs)

    def _note(self, tensor: Tensor, sources: frozenset[Value]) -> None:
        self._sources[id(tensor)] = sources | self._sources.get(id(tensor), frozenset())
        self._kept.append(tensor)

    def _fake(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, FakeTensor):
            return tensor
        if id(tensor) in self._layouts:
            return self._layouts[id(tensor)]
        with _disable_current_modes():
            return self._mode.from_tensor(tensor.detach(), static_shapes=True)


class MeasuringPass(ShapePass):
    """Also measures what each call keeps for the backward pass.

    Attributes:
        kept_bytes: of each call, beyond its inputs and its weights.
    """

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__(mode)
        self.kept_bytes: list[int] = []

    def _entering(self, tensor: Tensor) -> Tensor:
        fake = self._fake(tensor)
        if not fake.is_floating_point():
            return fake
        with _disable_current_modes(), self._mode, torch.enable_grad():
            return fake.detach().requires_grad_() + 0  # no leaf: a part may write into what the one before it gives

    def _run(self, part: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        own = {tensor.untyped_storage()._cdata for tensor in inputs}
        kept: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            if not isinstance(tensor, nn.Parameter) and tensor.untyped_storage()._cdata not in own:
                kept[tensor.untyped_storage()._cdata] = tensor
            return tensor

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = super()._run(part, forward, args, kwargs)
        self.kept_bytes.append(sum(tensor.untyped_storage().nbytes() for tensor in kept.values()))
        return tree_map_only(Tensor, Tensor.detach, output)


def fake_like(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    """Return a fake tensor of the same shape, type and device."""
    with mode:
        return torch.empty_like(tensor, requires_grad=False)


def _fake_weight(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    fake = fake_like(tensor, mode)
    return nn.Parameter(fake, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


def _run(part: nn.Module, forward: Callable[..., Any], mode: FakeTensorMode, args: Any, kwargs: Any) -> Any:
    held = {name: tensor for name, tensor in (*part.named_parameters(), *part.named_buffers()) if tensor is not None}
    if not held:
        return forward(*args, **kwargs)
    fakes = {name: _fake_weight(tensor, mode) for name, tensor in held.items()}
    return torch.func.functional_call(
        _Forward(part, forward), {f"part.{name}": t for name, t in fakes.items()}, args, kwargs
    )


class _Forward(nn.Module):
    """A part by its own forward, without what watches it."""

    def __init__(self, part: nn.Module, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.part, self._own = part, forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._own(*args, **kwargs)


def _spec(leaf: Any) -> object:
    return TensorSpec.of(leaf) if isinstance(leaf, Tensor) else leaf


def placeholder(spec: TensorSpec, device: torch.device) -> Tensor:
    """Return zeros of a shape that take no memory."""
    return torch.zeros((), dtype=spec.dtype, device=device).expand(spec.shape)
