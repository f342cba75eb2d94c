"""A network whose parts can be watched, left out or stopped at, while its own code runs between them."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import nn

from eightgig.vram.pipelining.parts import parts_of


class Handler(Protocol):
    """Does what is to be done when a part is called."""

    def call(self, name: str, part: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any, /) -> Any:
        """Return what the network goes on with as the part's output."""


class WatchedParts:
    """The parts of a network, whose calls go through a handler where there is one.

    Args:
        network: whose parts they are; their `forward` is replaced in place.

    Attributes:
        parts: by name.
        handler: of the pass that runs now; None lets parts run as ever.
    """

    def __init__(self, network: nn.Module) -> None:
        self.parts = parts_of(network)
        self.handler: Handler | None = None
        for name, part in self.parts.items():
            _watch(self, name, part)


def _watch(watched: WatchedParts, name: str, part: nn.Module) -> None:
    forward: Callable[..., Any] = part.forward

    def watched_forward(*args: Any, **kwargs: Any) -> Any:
        handler = watched.handler
        if handler is None:
            return forward(*args, **kwargs)
        watched.handler = None  # a part within a part is no part
        try:
            return handler.call(name, part, forward, args, kwargs)
        finally:
            watched.handler = handler

    part.forward = watched_forward
