"""Python, torch and TensorRT as they are installed; torch is loaded only where that is asked for."""

import os
import platform
import runpy
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from eightgig.core.kernels import built_architectures
from eightgig.core.records import Record

Depth = Literal["quick", "full"]
"""`quick` asks nothing that takes longer than a moment: torch is read from its files unless it is loaded already."""

_TENSORRT = ("tensorrt", "tensorrt-rtx", "torch-tensorrt")
_CUDA_MAJORS = (11, 12, 13, 14)


class Torch(Record):
    """The installed torch; None is what could not be read, or what only a loaded torch tells.

    Attributes:
        cuda: the CUDA it was built for; None is a build for the CPU.
        architectures: the GPUs it has kernels for, for example ("sm_86", "sm_90").
        tf32_products: whether float32 matrix products may use TF32.
        tf32_convolutions: the same of convolutions.
        threads: how many threads it computes with on the CPU.
    """

    version: str
    cuda: str | None = None
    architectures: tuple[str, ...] | None = None
    tf32_products: bool | None = None
    tf32_convolutions: bool | None = None
    threads: int | None = None

    @property
    def cuda_major(self) -> int | None:
        """13 for a build for CUDA 13.0; None for a build for the CPU."""
        return int(self.cuda.partition(".")[0]) if self.cuda else None


class Software(Record):
    """What is installed and how the environment sets it up.

    Attributes:
        tensorrt: versions by the name of the package.
        onnxruntime: the same, `onnxruntime` and `onnxruntime-gpu`.
        allocator_settings: PYTORCH_ALLOC_CONF, or its older name PYTORCH_CUDA_ALLOC_CONF.
        caching_off: PYTORCH_NO_CUDA_MEMORY_CACHING is set.
        visible_devices: CUDA_VISIBLE_DEVICES.
    """

    python: str
    torch: Torch | None = None
    tensorrt: dict[str, str] = Field(default_factory=dict)
    onnxruntime: dict[str, str] = Field(default_factory=dict)
    allocator_settings: str | None = None
    caching_off: bool = False
    visible_devices: str | None = None


def read_software(depth: Depth) -> Software:
    """Return what is installed."""
    names = [f"{base}{suffix}" for base in _TENSORRT for suffix in ("", *(f"-cu{major}" for major in _CUDA_MAJORS))]
    environment = os.environ
    return Software(
        python=platform.python_version(),
        torch=read_torch(depth),
        tensorrt=_installed(*names),
        onnxruntime=_installed("onnxruntime", "onnxruntime-gpu"),
        allocator_settings=environment.get("PYTORCH_ALLOC_CONF") or environment.get("PYTORCH_CUDA_ALLOC_CONF"),
        caching_off=environment.get("PYTORCH_NO_CUDA_MEMORY_CACHING", "0") not in ("", "0"),
        visible_devices=environment.get("CUDA_VISIBLE_DEVICES"),
    )


def read_torch(depth: Depth) -> Torch | None:
    """Return the installed torch, None when there is none; `torch.cuda` stays uninitialised."""
    if depth == "full" and util.find_spec("torch"):
        import torch

        return _loaded(torch)
    if "torch" in sys.modules:
        return _loaded(sys.modules["torch"])
    return _from_files()


def _loaded(torch: Any) -> Torch:
    backends = torch.backends
    return Torch(
        version=str(torch.__version__),
        cuda=torch.version.cuda,
        architectures=_architectures(Path(torch.__file__), torch) if torch.version.cuda else (),
        tf32_products=_uses_tf32(backends.cuda.matmul),
        tf32_convolutions=_uses_tf32(getattr(backends.cudnn, "conv", None)),
        threads=torch.get_num_threads(),
    )


def _uses_tf32(backend: Any) -> bool | None:
    """Ask the newer switch: the older one (allow_tf32) raises once a program has used the newer."""
    precision = getattr(backend, "fp32_precision", None)
    return None if precision is None else precision == "tf32"


def _from_files() -> Torch | None:
    """Read torch's own files: loading torch would take seconds."""
    spec = util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        found = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    except OSError:
        return None
    cuda = found.get("cuda")
    architectures = _architectures(Path(spec.origin)) if cuda else ()
    return Torch(version=str(found["__version__"]), cuda=cuda, architectures=architectures)


def _architectures(torch_module: Path, torch: Any = None) -> tuple[str, ...] | None:
    """Read them from the library, for torch 2.11 tells them only where there is a card; ask torch where that fails."""
    asked = tuple(torch.cuda.get_arch_list()) if torch else ()
    return built_architectures(torch_module.parent) or asked or None


def _installed(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
