"""Whether a step left everything as it found it: then the next one does the same, and need not be traced again.

A network that keeps something from one step for the next (an output, a cache, a count) shows it in the blocks that are
held after the step, or in what its modules remember.
"""

import sys
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from eightgig.vram.allocator.events import StepBoundary
from eightgig.vram.plan import Category
from eightgig.vram.tracing.tracer import Tracer

_PLAIN = (bool, int, float, str, type(None))
_NOBODY_ELSE = 2  # references: the list that holds it, and the argument of `getrefcount`


class Unchanged:
    """What is held and remembered before a step, for a comparison with what is after it.

    Args:
        tracer: that records the step.
        module: the network.
        new: what a first step may leave: the optimizer's state.
    """

    def __init__(self, tracer: Tracer, module: nn.Module, new: Category | None = None) -> None:
        self._tracer, self._module, self._new = tracer, module, new
        self.begin = tracer.here()
        self._live, self._remembered = tracer.live(), _remembered(module)

    def __bool__(self) -> bool:
        now = self._tracer.live()
        only_new = all(self._tracer.category(block) == self._new for block in now - self._live)
        return self._live <= now and only_new and _remembered(self._module) == self._remembered

    def repeat(self) -> None:
        """Record the step again."""
        self._tracer.repeat(self.begin, self._tracer.here())


def _remembered(module: nn.Module) -> dict[tuple[str, str], Any]:
    return {
        (path, name): value
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, _PLAIN)
    }


class HeldGradients:
    """Gradients that a loop has dropped, kept for the next step, which makes them as this one did.

    Args:
        tracer: that recorded how they were made.
        weights: that have them.
    """

    def __init__(self, tracer: Tracer, weights: Iterable[Tensor]) -> None:
        self._tracer = tracer
        self._weights = [weight for weight in weights if weight.grad is not None]
        self._gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        self._numbers: list[int | None] = []

    def let_go(self) -> None:
        """Record them as given back, in their order, once the loop has dropped them."""
        # By position: a name for one of them would be a reference more.
        for place in range(len(self._gradients)):
            is_alone = sys.getrefcount(self._gradients[place]) == _NOBODY_ELSE
            self._numbers.append(self._tracer.let_go(self._gradients[place]) if is_alone else None)

    def make_again(self, begin: StepBoundary, end: StepBoundary) -> bool:
        """Record again how they were made, and give them back to their weights; not where more was held at the end."""
        made = [number for number in self._numbers if number is not None]
        if len(made) < len(self._gradients) or self._tracer.left_between(begin, end) != set(made):
            return False
        numbers = self._tracer.repeat(begin, end)
        for weight, gradient, number in zip(self._weights, self._gradients, made, strict=True):
            weight.grad = gradient
            self._tracer.take_up(gradient, numbers[number])
        return True
