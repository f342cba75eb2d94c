"""What an 8-bit optimizer holds, without the library: for the tracer, which only counts."""

import torch
from torch import Tensor

# bitsandbytes 0.50.2, bitsandbytes/optim/optimizer.py, Optimizer2State.init_state and the defaults of AdamW8bit.
_BLOCK = 256
_SMALLEST = 4096


class CountedAdamW8bit(torch.optim.Optimizer):
    """Holds what bitsandbytes' AdamW8bit holds, and reads and writes what its kernel does; computes nothing of use.

    Two moments of one byte a value, with a scale in float32 for each 256 of them; tensors of fewer than 4096 values
    keep float32 moments. The kernel works in place.
    """

    def __init__(self, weights: list[torch.nn.Parameter]) -> None:
        super().__init__(weights, {})
        self._maps: dict[str, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - torch passes none
        """Make the state of weights that have none, and touch all."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if not self.state[weight]:
                    self.state[weight].update(self._state_of(weight))
                weight.add_(weight.grad)
                for moment in ("state1", "state2"):
                    self.state[weight][moment].add_(1)

    def _state_of(self, weight: Tensor) -> dict[str, Tensor]:
        if weight.numel() < _SMALLEST:
            return {name: torch.zeros_like(weight) for name in ("state1", "state2")}
        if not self._maps:  # one for all weights
            self._maps = {name: torch.zeros(256, device=weight.device) for name in ("qmap1", "qmap2")}
        moments = {name: torch.zeros_like(weight, dtype=torch.uint8) for name in ("state1", "state2")}
        blocks = -(-weight.numel() // _BLOCK)
        scales = {name: torch.zeros(blocks, device=weight.device) for name in ("absmax1", "absmax2")}
        return {**moments, **scales, **self._maps}
