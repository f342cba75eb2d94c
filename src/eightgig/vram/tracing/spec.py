"""Where a workload comes from, so that a child process can build it; importing this imports no torch."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record

if TYPE_CHECKING:
    from eightgig.vram.tracing.workload import Workload


class WorkloadSpec(Record):
    """Where a workload comes from: a function by its import path, and its keyword arguments.

    The function gives a `Workload`, or a tuple of a module, a loss and a batch maker.

    Example:
        >>> spec = WorkloadSpec(factory="mymodel:make", options={"width": 64})  # mymodel.make(width=64)
        >>> spec.factory
        'mymodel:make'

    Attributes:
        factory: `package.module:function`, found from the folder that the program runs in, or installed.
    """

    factory: str
    options: dict[str, JsonValue] = Field(default_factory=dict)

    @classmethod
    def of(cls, network: "str | WorkloadSpec") -> "WorkloadSpec":
        """Return what is traced of a network that is named by its import path alone, or as it is."""
        return cls(factory=network) if isinstance(network, str) else network

    def build(self) -> "Workload":
        """Import the function and call it.

        Raises:
            ConfigurationError: there is no such function, or what it gives is not a workload.
        """
        from torch import nn

        from eightgig.vram.tracing.workload import Workload

        made = self._function()(**self.options)
        if isinstance(made, Workload):
            return made
        if isinstance(made, tuple) and len(made) == 3 and isinstance(made[0], nn.Module):
            module, loss, batch = made
            if callable(loss) and callable(batch):
                return Workload(module=module, loss=loss, batch=batch)
        raise ConfigurationError(
            f"{self.factory} gave {type(made).__name__}; expected an eightgig.vram.tracing.workload.Workload, or a "
            "tuple (module, loss(module, batch) -> scalar, batch(num_samples) -> tensors)"
        )

    def _function(self) -> Callable[..., Any]:
        module_name, _, name = self.factory.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), name, None)
        except ImportError as error:
            raise ConfigurationError(
                f"the model {self.factory!r} cannot be imported: {error}. Write it as package.module:function, and run "
                "from the folder that holds the package, or install it"
            ) from error
        if not callable(found):
            raise ConfigurationError(
                f"{module_name!r} has no function {name!r}: write the model as package.module:function"
            )
        return found
