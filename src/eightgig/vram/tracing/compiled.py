"""What torch.compile made of a network: refused where a whole module is compiled, and said where a function is.

Under a trace compiled code runs as if it were not, so that a prediction would be of something else without a word.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from eightgig.core.errors import ConfigurationError

_FUNCTION = (
    "torch.compile: what is compiled outside of the network's modules is predicted as it runs without; expect less "
    "where ops are fused, and other buffers beside"
)


def refuse_compiled(module: nn.Module) -> None:
    """Refuse a network that is compiled, or has a part that is.

    Raises:
        ConfigurationError: it is; the message names the first part.
    """
    for name, part in module.named_modules():
        if type(part).__name__ == "OptimizedModule" or part._compiled_call_impl is not None:
            raise ConfigurationError(
                f"{name or 'the network'} is compiled (torch.compile), and compiled training is not predicted: give it "
                "without torch.compile, and expect a step to take less where ops are fused, and other buffers beside"
            )


@contextmanager
def noting_compiled(remark: Callable[[str], None]) -> Iterator[None]:
    """Say so where a function is called that torch.compile made; without torch's compiler loaded there is none."""
    frames: Any = sys.modules.get("torch._dynamo.eval_frame")
    original = getattr(frames, "_callback_from_stance", None)  # asked by each such call, and by no other
    if original is None:
        yield
        return

    def noted(callback: Any) -> Any:
        if callable(callback):  # none where the compiler is turned off for a function
            remark(_FUNCTION)
        return original(callback)

    frames._callback_from_stance = noted
    try:
        yield
    finally:
        frames._callback_from_stance = original
