"""One stage of a network: some of its parts, and the network's own code, which runs in every stage.

The network's forward pass runs in each process as it is written. Parts before the stage's own are not there: what they
give is what was handed over, or zeros that nothing of this stage needs. When the first part after the stage's own is
called, the pass ends. So masks and positions that are made of the inputs alone need not be sent, and skip connections
over a cut are carried (`Flow.crossing`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from eightgig.core.errors import TrainingError
from eightgig.vram.pipelining.flow import Flow, TensorSpec, Value
from eightgig.vram.pipelining.handing_over import as_sent, as_used
from eightgig.vram.pipelining.shapes import MeasuringPass, ShapePass, fake_like, placeholder
from eightgig.vram.pipelining.watching import WatchedParts


class HandedOver(BaseException):
    """The pass of a stage is over.

    Attributes:
        tensors: what the next stage is given, as it is sent.
    """

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        super().__init__("the pass of this stage is over")
        self.tensors = tensors


class ShapesKnown(BaseException):
    """A pass of shapes is over, which has no values to go on with.

    Attributes:
        flow: that it found.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__("the shapes are known")
        self.flow = flow


class StageModule(nn.Module):
    """A network of which only some parts are there.

    Called as the network is; what the call does is set before by `watch_shapes` or `take_over`.

    Args:
        network: whole, on the CPU; parts of other stages lose their weights, in place.
        parts: names of the stage's own.
        absent: names of those of other stages; what is called in none stays.

    Attributes:
        network: with its own parts alone; names in its state are those of the whole.
    """

    def __init__(self, network: nn.Module, parts: Iterable[str], absent: Iterable[str] = ()) -> None:
        super().__init__()
        self.network = network
        self.parts = frozenset(parts)
        self._watched = WatchedParts(network)
        if strange := self.parts - self._watched.parts.keys():
            raise ValueError(f"the network has no part {min(strange)}")
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        kept = {id(m) for name in self.parts for m in self._watched.parts[name].modules()}
        for name in frozenset(absent) - self.parts:
            _hollow(self._watched.parts[name], kept, self._fake)
        self._pass: Callable[..., Any] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Do what was set before; raise what ends the pass, or return the network's output in the last stage."""
        if self._pass is None:
            raise TrainingError("a stage of a network cannot run by itself")
        begun, self._pass = self._pass, None
        return begun(*args, **kwargs)

    def flow(self, run: Callable[[], Any]) -> Flow:
        """Return what flows between the parts.

        Args:
            run: calls this module once, with a batch; what it would do with the output is not done.
        """
        return self._known(run, ShapePass(self._fake)).flow

    def measured_flow(self, run: Callable[[], Any]) -> tuple[Flow, tuple[int, ...]]:
        """Return the flow, and the bytes that each call keeps for the backward pass beyond its inputs."""
        known = self._known(run, measured := MeasuringPass(self._fake))
        return known.flow, tuple(measured.kept_bytes)

    def _known(self, run: Callable[[], Any], shapes: ShapePass) -> ShapesKnown:
        self._pass = partial(self._shapes, shapes)
        try:
            run()
        except ShapesKnown as known:
            return known
        finally:
            self._pass = None
        raise TrainingError("the objective did not call the network")

    def take_over(
        self, flow: Flow, received: Callable[[], Sequence[Tensor]], *, at_start: Callable[[], None] = lambda: None
    ) -> None:
        """Let the next call run this stage's parts.

        Args:
            flow: of batches of these shapes.
            received: gives what is handed over where this stage begins, when it is needed.
            at_start: called before the first of the stage's own parts.
        """

        def run(*args: Any, **kwargs: Any) -> Any:
            stage_pass = _StagePass(flow, flow.calls_of(self.parts), received(), at_start)
            self._watched.handler = stage_pass
            try:
                return self.network(*args, **kwargs)
            finally:
                self._watched.handler = None

        self._pass = run

    def _shapes(self, shapes: ShapePass, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad(), shapes:
            self._watched.handler = shapes
            try:
                result = self.network(*args, **kwargs)
            finally:
                self._watched.handler = None
        raise ShapesKnown(shapes.flow(result))


class _StagePass:
    """One forward pass of a stage."""

    def __init__(self, flow: Flow, own: range, received: Sequence[Tensor], at_start: Callable[[], None]) -> None:
        self._flow, self._own, self._position, self._at_start = flow, own, 0, at_start
        self._values: dict[Value, Tensor] = {
            value: as_used(tensor, flow.spec(value))
            for value, tensor in zip(flow.crossing(own.start), received, strict=True)
        }

    def call(self, name: str, _: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a part of the stage's own; give what stands for another's; end the pass after the last."""
        position, self._position = self._position, self._position + 1
        if position >= self._own.stop:
            handed = self._flow.crossing(self._own.stop)
            raise HandedOver(tuple(as_sent(self._values[value], self._flow.spec(value)) for value in handed))
        if position >= len(self._flow.calls) or self._flow.calls[position].part != name:
            raise TrainingError(
                f"the network calls {name} where it called {self._flow.calls[position].part} before: parts that are "
                "called in another order from batch to batch cannot be shared out among processes; set "
                "train.distributed.strategy to ddp"
            )
        if position < self._own.start:
            return self._absent(position, args, kwargs)
        if position == self._own.start:
            self._at_start()
        output = forward(*args, **kwargs)
        for leaf, tensor in enumerate(tree_flatten(output)[0]):
            if isinstance(tensor, Tensor):
                self._values[Value(position, leaf)] = tensor
        return output

    def _absent(self, position: int, args: Any, kwargs: Any) -> Any:
        call = self._flow.calls[position]
        device = next(leaf.device for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        leaves = [self._leaf(Value(position, number), leaf, device) for number, leaf in enumerate(call.leaves)]
        return tree_unflatten(leaves, call.structure)

    def _leaf(self, value: Value, leaf: object, device: torch.device) -> object:
        if value in self._values or not isinstance(leaf, TensorSpec):
            return self._values.get(value, leaf)
        if value in self._flow.overwritten:
            return torch.empty(leaf.shape, dtype=leaf.dtype, device=device)
        return placeholder(leaf, device)


def _hollow(part: nn.Module, kept: set[int], mode: FakeTensorMode) -> None:
    """Take the weights of a part away; in their place stand fake ones, which tell their shapes to who asks."""
    for module in part.modules():
        if id(module) in kept:
            continue
        held: tuple[Mapping[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in held:
            for name, tensor in list(tensors.items()):
                if tensor is not None:
                    del tensors[name]  # type: ignore[attr-defined]
                    module.__dict__[name] = fake_like(tensor, mode)
