"""Where a workload comes from, so that a child process can build it; importing this imports no torch."""

import hashlib
import importlib
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field, JsonValue, PrivateAttr

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record

if TYPE_CHECKING:
    from eightgig.vram.tracing.workload import Workload


class CallRequest(NamedTuple):
    """A function to call in the child process; `search_path` is the parent's."""

    address: str
    arguments: dict[str, Any]
    search_path: tuple[str, ...]


class WorkloadSpec(Record):
    """Where a workload comes from: a function by its import path, and its keyword arguments.

    The function gives a `Workload`, or a tuple of a module, a loss and a batch maker.

    Examples:
        >>> spec = WorkloadSpec(factory="mymodel:make", options={"width": 64})  # mymodel.make(width=64)
        >>> spec.factory
        'mymodel:make'

    Attributes:
        factory: `package.module:function`, found from the folder that the program runs in, or installed.
        function: the hash of a function that no import finds, which is sent itself; None imports `factory`. Parameters
            and files cannot bring one: what is run is what `of` was given in this program.
    """

    factory: str
    options: dict[str, JsonValue] = Field(default_factory=dict)
    function: str | None = Field(default=None, repr=False)
    _pickled: bytes = PrivateAttr(default=b"")

    @classmethod
    def of(cls, network: "str | WorkloadSpec | Callable[..., Any]") -> "WorkloadSpec":
        """Return what is traced of a network: by its import path, by a function of this program, or as it is.

        A function of the program itself (`__main__`: a notebook, a script) is sent by value with what it uses, since
        the child process cannot import it.

        Raises:
            ConfigurationError: it is no function, or holds what cannot be sent.
        """
        if isinstance(network, WorkloadSpec):
            return network
        if isinstance(network, str):
            module, _, name = network.partition(":")
            if module != "__main__":
                return cls(factory=network)
            network = _function_of(sys.modules["__main__"], name)
        return cls._by_value(network)

    @classmethod
    def _by_value(cls, function: Callable[..., Any]) -> "WorkloadSpec":
        import cloudpickle
        from torch import nn

        name = f"{getattr(function, '__module__', None)}:{getattr(function, '__qualname__', type(function).__name__)}"
        if isinstance(function, nn.Module) or not callable(function):
            raise ConfigurationError(
                f"the model is a {type(function).__name__}; expected a function that makes module, loss and batches, "
                "or its import path as package.module:function"
            )
        try:
            pickled = cloudpickle.dumps(function)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"{name} cannot be sent to the process that predicts ({error}): put it into a module and write it as "
                "package.module:function, or make what it holds inside of it"
            ) from error
        return cls.of_pickled(name, pickled)

    @classmethod
    def of_pickled(cls, name: str, pickled: bytes) -> "WorkloadSpec":
        """Return what is traced of a function that this program has pickled.

        Args:
            name: for a person.
            pickled: the function; it is unpickled in the process that traces.
        """
        spec = cls(factory=name, function=hashlib.sha256(pickled).hexdigest())
        spec._pickled = pickled
        return spec

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
        if self._pickled:
            sent: Callable[..., Any] = pickle.loads(self._pickled)  # noqa: S301  from `of_pickled` of this program
            return sent
        if self.function is not None:
            raise ConfigurationError(
                f"{self.factory} was a function of another program: name it as package.module:function"
            )
        module_name, _, name = self.factory.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise ConfigurationError(
                f"the model {self.factory!r} cannot be imported: {error}. Write it as package.module:function, and run "
                "from the folder that holds the package, or install it"
            ) from error
        return _function_of(module, name)


def _function_of(module: ModuleType, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if not callable(found):
        raise ConfigurationError(
            f"{module.__name__!r} has no function {name!r}: write the model as package.module:function"
        )
    return found
