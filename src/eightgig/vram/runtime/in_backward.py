"""The optimizer in the backward pass: each weight is stepped when its gradient is whole, and the gradient is dropped.

So gradients are never all there at once. Torch calls the hook where nothing in the backward pass needs the weight's old
value any more (docs of `torch.Tensor.register_post_accumulate_grad_hook`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer


class StepsInBackward:
    """Steps weights one by one, with an ordinary optimizer: its state and its settings stay where they are.

    Args:
        optimizer: of all weights that shall be stepped so.
        watch: is called with each weight before it is stepped.
    """

    def __init__(self, optimizer: Optimizer, *, watch: Callable[[Tensor], None] | None = None) -> None:
        self._optimizer, self._watch = optimizer, watch
        self._norms: list[Tensor] = []
        self._on = False
        self._group_of = {
            weight: number for number, group in enumerate(optimizer.param_groups) for weight in group["params"]
        }
        for weight in self._group_of:
            weight.register_post_accumulate_grad_hook(self._gradient_is_whole)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Step what gets its gradient in this block; outside of such a block gradients stay."""
        self._norms.clear()
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def norm(self) -> Tensor:
        """Return the norm of all gradients of the last block, without dimensions."""
        return torch.linalg.vector_norm(torch.stack(self._norms))

    def step(self, weight: Tensor) -> None:
        """Step one weight and drop its gradient."""
        groups = self._optimizer.param_groups
        self._optimizer.param_groups = [{**groups[self._group_of[weight]], "params": [weight]}]
        try:
            self._optimizer.step()
        finally:
            self._optimizer.param_groups = groups
        weight.grad = None

    def _gradient_is_whole(self, weight: Tensor) -> None:
        if not self._on or weight.grad is None:
            return
        if self._watch is not None:
            self._watch(weight)
        self._norms.append(torch.linalg.vector_norm(weight.grad))
        self.step(weight)
