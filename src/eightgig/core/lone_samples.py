"""BatchNorm where one sample leaves it one value a channel, of which there is no variance."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

NO_VARIANCE = "more than 1 value per channel"
"""What torch says of such a layer."""


class LoneSamples:
    """Lets BatchNorm take its running statistics for a sample that goes through a network in training by itself.

    Only layers at which the sample is one value a channel (an image pooled to one pixel) do so, and only then; their
    statistics stay as they are. All others, and all larger batches, are as ever. Nothing is dropped: each sample counts
    in its optimizer step, wherever a lone one comes from (the end of an epoch, a micro-batch of one, a process's
    share).

    Args:
        module: the network.

    Attributes:
        layers: names of those that did so, in the order in which they were met.
    """

    def __init__(self, module: "nn.Module") -> None:
        from torch.nn.modules.batchnorm import _BatchNorm

        self._norms = {part: name for name, part in module.named_modules() if isinstance(part, _BatchNorm)}
        self._switched: set[nn.Module] = set()
        self.layers: list[str] = []

    @contextmanager
    def through(self, samples: int) -> Iterator[None]:
        """Within it, forward and backward passes of so many samples are run."""
        if samples > 1 or not self._norms:
            yield
            return
        handles = [norm.register_forward_pre_hook(self._before) for norm in self._norms]
        # Also where the layer raises: it must not stay out of training.
        handles += [norm.register_forward_hook(self._after, always_call=True) for norm in self._norms]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, norm: Any, inputs: tuple[Any, ...]) -> None:
        values = inputs[0]
        if norm.training and norm.running_mean is not None and values.numel() == values.shape[1]:
            norm.training = False
            self._switched.add(norm)
            if self._norms[norm] not in self.layers:
                self.layers.append(self._norms[norm])

    def _after(self, norm: Any, *_: Any) -> None:
        if norm in self._switched:
            self._switched.discard(norm)
            norm.training = True
