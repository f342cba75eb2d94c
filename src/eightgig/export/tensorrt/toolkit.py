"""Which TensorRT is installed, and how to install one; both modules have one face, so one set of code serves them."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from eightgig.core.errors import ExportError
from eightgig.export.tensorrt.records import ToolkitChoice, ToolkitName

_INSTALL: dict[ToolkitName, str] = {
    "tensorrt_rtx": "pip install tensorrt-rtx",
    "tensorrt": "pip install tensorrt --extra-index-url https://pypi.nvidia.com",
}
_TITLES: dict[ToolkitName, str] = {"tensorrt_rtx": "TensorRT for RTX", "tensorrt": "TensorRT"}
_OLDEST_MAJOR = 10  # older ones have no typed networks without flags of their own, and other names for tensors
_FIRST_ALWAYS_TYPED_MAJOR = 11


@dataclass(frozen=True)
class Toolkit:
    """An installed TensorRT: its Python module, under which name, in which version."""

    name: ToolkitName
    module: Any

    @property
    def title(self) -> str:
        """`TensorRT` or `TensorRT for RTX`."""
        return _TITLES[self.name]

    @property
    def version(self) -> str:
        """As the module says it, for example `1.7.1.116`."""
        return str(self.module.__version__)

    @property
    def is_rtx(self) -> bool:
        """Whether it compiles kernels where the engine runs, and so builds engines without a GPU."""
        return self.name == "tensorrt_rtx"

    def network_flags(self) -> int:
        """Return the flags that make a network strongly typed, where that is not the only kind."""
        if self.is_rtx or int(self.version.split(".")[0]) >= _FIRST_ALWAYS_TYPED_MAJOR:
            return 0
        return 1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def missing_reason(choice: ToolkitChoice = "auto") -> str | None:
    """Return why there is no such toolkit and the line that installs it; None where it is there. Imports nothing."""
    wanted: tuple[ToolkitName, ...] = ("tensorrt", "tensorrt_rtx") if choice == "auto" else (choice,)
    if any(find_spec(name) for name in wanted):
        return None
    name = wanted[-1]  # of both, the one from the public index
    return f"{_TITLES[name]} is not installed. To install it: {_INSTALL[name]}"


def find_toolkit(choice: ToolkitChoice = "auto") -> Toolkit:
    """Return the installed toolkit.

    Args:
        choice: `auto` takes TensorRT where there is a GPU for it, and otherwise TensorRT for RTX.

    Raises:
        ExportError: it is not installed, cannot be loaded, or is too old.
    """
    if reason := missing_reason(choice):
        raise ExportError(reason)
    return _load(_choose() if choice == "auto" else choice)


def _choose() -> ToolkitName:
    # TensorRT's own libraries crash where they are used without a driver.
    if find_spec("tensorrt_rtx") and not (find_spec("tensorrt") and _has_gpu()):
        return "tensorrt_rtx"
    return "tensorrt"


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@cache
def _load(name: ToolkitName) -> Toolkit:
    try:
        toolkit = Toolkit(name, import_module(name))
    except (ImportError, OSError, RuntimeError) as error:
        raise ExportError(
            f"{_TITLES[name]} is installed but cannot be loaded: {error}. Install it again: {_INSTALL[name]}"
        ) from error
    if not toolkit.is_rtx and int(toolkit.version.split(".")[0]) < _OLDEST_MAJOR:
        raise ExportError(
            f"TensorRT: wanted version {_OLDEST_MAJOR} or newer, found {toolkit.version}. Install it: {_INSTALL[name]}"
        )
    return toolkit
