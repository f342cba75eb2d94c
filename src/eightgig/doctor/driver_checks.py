"""Checks of what makes a card usable at all: the card, its driver, torch's build, its number formats, TensorRT."""

from functools import partial

from eightgig.core.kernels import TORCH_PAGE, has_kernels, torch_with_kernels
from eightgig.core.units import gib
from eightgig.doctor.advice import Advice
from eightgig.doctor.graphics import Gpu
from eightgig.doctor.machine import Machine
from eightgig.doctor.software import Torch

# NVIDIA, CUDA Compatibility: a driver from this number on serves all minor versions of that CUDA
# (https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, table 1).
_FIRST_DRIVER = {11: 450, 12: 525, 13: 580}
_OLDEST_TORCH = (2, 11)  # pyproject.toml
_DRIVER_PAGE = "https://www.nvidia.com/drivers"

# The first compute capability whose Tensor Cores take a format. Sources: NVIDIA CUTLASS documentation, Tensor Cores
# (Volta 7.0, Turing 7.5, Ampere 8.0, Hopper 9.0); TensorRT-RTX support matrix (fp8 from Ada 8.9, fp4 from 12.0).
_FORMATS = {"fp16": (7, 0), "int8": (7, 5), "bf16": (8, 0), "tf32": (8, 0), "fp8": (8, 9)}
_WITHOUT_TENSOR_CORES = ("GTX 16",)  # Turing cards of 7.5 that were made without them
# TensorRT for RTX 1.7 has kernels for these alone (seen in its ComputeCapability; there is none for 9.0 or 10.0).
_RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))


def gpu_found(machine: Machine) -> Advice:
    """DOC001: the card that runs use, or why there is none."""
    about = partial(Advice, code="DOC001", title="GPU", wanted="one of compute capability 7.5 or newer")
    gpu = machine.gpu
    if gpu is None:
        return _no_gpu(machine)
    what = f"{gpu.name}, {_size(gpu)}" + (f", compute capability {_dotted(gpu.capability)}" if gpu.capability else "")
    others = len(machine.graphics.gpus) - 1
    if not others:
        return about(status="ok", what_is=what)
    return about(
        status="note",
        what_is=f"{what}; {others} more in this machine: a run uses one",
        to_do=f"another one: CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={_other(machine, gpu)}",
    )


def driver(machine: Machine) -> Advice | None:
    """DOC002: the driver serves the CUDA that torch was built for."""
    version, torch = machine.graphics.driver, machine.software.torch
    if version is None:
        return None
    serves = machine.graphics.driver_cuda
    what = f"{version}" + (f", serves CUDA up to {_dotted(serves)}" if serves else "")
    about = partial(Advice, code="DOC002", title="driver", what_is=what)
    if torch is None or torch.cuda_major is None:
        return about(status="ok", wanted="any: the installed torch does not use it")
    first = _FIRST_DRIVER.get(torch.cuda_major)
    wanted = f"{first} or newer" if first else f"one that serves CUDA {torch.cuda_major}"
    wanted += f" for torch's CUDA {torch.cuda}"
    if _serves(version, serves, torch.cuda_major):
        return about(status="ok", wanted=wanted)
    return about(
        status="problem",
        wanted=f"{wanted}; the article's 470 and CUDA 11.1 were for torch 1.8",
        to_do=f"{_new_driver(machine, first)}. No CUDA toolkit is needed: torch brings its own",
    )


def torch_build(machine: Machine) -> Advice:
    """DOC003: torch is new enough, built for CUDA, and has kernels for the card."""
    torch, gpu = machine.software.torch, machine.gpu
    about = partial(Advice, code="DOC003", title="torch", wanted="2.11 or newer, kernels for the card")
    if torch is None:
        return about(status="problem", what_is="not installed", to_do="make environment")
    build = f"built for CUDA {torch.cuda}" if torch.cuda else "built for the CPU"
    what = f"{torch.version}, {build}"
    if _version(torch.version) < _OLDEST_TORCH:
        return about(status="problem", what_is=what, to_do="make environment, or pip install -r requirements.lock")
    if gpu is None:
        return about(status="ok", what_is=what, wanted="2.11 or newer")
    if torch.cuda is None:
        return about(status="problem", what_is=f"{what}: the card is not used", to_do=_cuda_torch(torch.version))
    if gpu.capability and has_kernels(torch.architectures, torch.cuda, gpu.capability) is False:
        known = ", ".join(torch.architectures or ()) or "none this old"
        lack = f"{what}, kernels for {known}; none for the {gpu.name} ({_dotted(gpu.capability)})"
        return about(status="problem", what_is=lack, to_do=_ways_to_kernels(machine, torch, gpu.capability))
    return about(status="ok", what_is=what)


def tensor_cores(machine: Machine) -> Advice | None:
    """DOC004: which number formats the card multiplies in its Tensor Cores."""
    gpu = machine.gpu
    if gpu is None or gpu.capability is None:
        return None
    formats = tensor_core_formats(gpu.name, gpu.capability)
    about = partial(Advice, code="DOC004", title="Tensor Cores", wanted="fp16, in which runs train on a card")
    if not formats:
        return about(
            status="warning",
            what_is="none",
            to_do="nothing to set: fp16 still saves memory, but little time; expect several times the epoch time",
        )
    return about(status="ok", what_is=", ".join(formats))


def tf32(machine: Machine) -> Advice | None:
    """DOC005: whether float32 products use TF32 where the card has it."""
    gpu, torch = machine.gpu, machine.software.torch
    if gpu is None or gpu.capability is None or torch is None or torch.tf32_products is None:
        return None
    if "tf32" not in tensor_core_formats(gpu.name, gpu.capability):
        return None
    convolutions = "on" if torch.tf32_convolutions else "off"
    about = partial(Advice, code="DOC005", title="TF32", wanted="on, for fp32 runs alone")
    if torch.tf32_products:
        return about(status="ok", what_is=f"on for matrix products, {convolutions} for convolutions")
    return about(
        status="note",
        what_is=f"off for matrix products, {convolutions} for convolutions",
        to_do="for fp32 runs: export TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1",
    )


def tensorrt(machine: Machine) -> Advice | None:
    """DOC015: TensorRT is there, and of torch's CUDA."""
    gpu, torch, found = machine.gpu, machine.software.torch, machine.software.tensorrt
    if gpu is None or torch is None or torch.cuda_major is None:
        return None
    major = torch.cuda_major
    about = partial(Advice, code="DOC015", title="TensorRT", wanted=f"for CUDA {major}, as torch; for engines alone")
    if not found:
        install = f"pip install --extra-index-url https://pypi.nvidia.com tensorrt-cu{major}"
        return about(status="note", what_is="not installed", to_do=f"for engines: {install}")
    what = ", ".join(f"{name} {version}" for name, version in found.items())
    majors = {int(name.rpartition("-cu")[2]) for name in found if "-cu" in name}
    if majors and major not in majors:
        return about(status="warning", what_is=what, to_do=f"pip install tensorrt-cu{major} in its place")
    if any("rtx" in name for name in found) and gpu.capability not in (None, *_RTX_CAPABILITIES):
        unbuilt = f"{what}; TensorRT for RTX has no kernels for {_dotted(gpu.capability)}"
        return about(status="note", what_is=unbuilt, to_do="use torch.compile, or plain TensorRT, on this card")
    return about(status="ok", what_is=what)


def onnxruntime(machine: Machine) -> Advice | None:
    """DOC016: not two ONNX Runtimes, which overwrite each other's files."""
    found = machine.software.onnxruntime
    if not found:
        return None
    about = partial(Advice, code="DOC016", title="ONNX Runtime", wanted="one package")
    what = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) == 1:
        return about(status="ok", what_is=what)
    return about(
        status="warning",
        what_is=f"{what}: both are the module onnxruntime",
        to_do="pip uninstall onnxruntime onnxruntime-gpu, then install one of them again",
    )


def tensor_core_formats(name: str, capability: tuple[int, int]) -> tuple[str, ...]:
    """Return the formats that the card's Tensor Cores multiply; empty when it has none."""
    if any(part in name for part in _WITHOUT_TENSOR_CORES):
        return ()
    return tuple(form for form, first in _FORMATS.items() if capability >= first)


def _no_gpu(machine: Machine) -> Advice:
    about = partial(Advice, code="DOC001", title="GPU")
    silence, host = machine.graphics.silence, machine.host
    if machine.graphics.gpus:
        hidden = f"CUDA_VISIBLE_DEVICES={machine.software.visible_devices!r} hides {machine.graphics.gpus[0].name}"
        return about(
            status="warning", what_is=hidden, wanted="a card that programs may see", to_do="unset CUDA_VISIBLE_DEVICES"
        )
    if host.nvidia_on_bus:
        return about(
            status="problem",
            what_is=f"an NVIDIA card is built in, but its driver does not answer ({silence})",
            wanted="a driver that answers: nvidia-smi shows the card",
            to_do="start the container with --gpus all" if host.is_container else _new_driver(machine, None),
        )
    hint = ""
    if host.is_wsl:
        hint = f"if there is a card: install the driver in Windows ({_DRIVER_PAGE}), none in WSL; then wsl --shutdown"
    elif host.is_container:
        hint = "if there is a card: start the container with --gpus all"
    return about(
        status="note",
        what_is="no NVIDIA card",
        wanted="none for samples, planning and export; one for the full recipes",
        to_do=hint,
    )


def _serves(version: str, cuda: tuple[int, int] | None, wanted_major: int) -> bool:
    if cuda is not None:
        return cuda[0] >= wanted_major
    return _version(version)[0] >= _FIRST_DRIVER.get(wanted_major, 0)


def _new_driver(machine: Machine, first: int | None) -> str:
    which = f"driver {first} or newer" if first else "the NVIDIA driver"
    if machine.host.is_wsl or machine.host.system == "Windows":
        return f"install {which} in Windows: {_DRIVER_PAGE}"
    serves = machine.graphics.driver_cuda
    older = f"; or take a torch for CUDA {serves[0]}: {TORCH_PAGE}" if serves and serves[0] >= 12 else ""
    return f"install {which} (Ubuntu: sudo ubuntu-drivers install) and restart{older}"


def _cuda_torch(version: str) -> str:
    public = version.partition("+")[0]
    return (
        f"pip install --force-reinstall torch=={public} torchvision --index-url https://download.pytorch.org/whl/cu130"
    )


def _ways_to_kernels(machine: Machine, torch: Torch, capability: tuple[int, int]) -> str:
    """Return the way out: another card of this machine that torch has kernels for, or another torch."""
    for other in machine.graphics.gpus:
        if other.uuid and other.capability and has_kernels(torch.architectures, torch.cuda, other.capability):
            return f"CUDA_VISIBLE_DEVICES={other.uuid}, which is the {other.name}, with kernels"
    return f"{torch_with_kernels(torch.version, capability)}; or leave it: runs use the CPU"


def _other(machine: Machine, gpu: Gpu) -> int:
    return next(other.index for other in machine.graphics.gpus if other.index != gpu.index)


def _size(gpu: Gpu) -> str:
    return "memory unknown" if gpu.total_bytes is None else f"{gib(gpu.total_bytes):.1f} GiB"


def _dotted(pair: tuple[int, int] | None) -> str:
    return "unknown" if pair is None else f"{pair[0]}.{pair[1]}"


def _version(text: str) -> tuple[int, int]:
    numbers = [int(part) for part in text.partition("+")[0].split(".")[:2] if part.isdigit()]
    major, minor, *_ = [*numbers, 0, 0]
    return major, minor
