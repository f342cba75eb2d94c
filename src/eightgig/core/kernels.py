"""Which cards torch has kernels for: a driver serves older cards than torch is still built for."""

import mmap
import re
from pathlib import Path
from typing import NamedTuple

TORCH_PAGE = "https://pytorch.org/get-started/locally"

# PyTorch's release matrix (RELEASE.md, "PyTorch CUDA Support Matrix"): of the wheels of torch 2.11 and later those for
# CUDA 12.6 alone have kernels for Maxwell, Pascal and Volta.
_LEGACY_INDEX = "https://download.pytorch.org/whl/cu126"
_LEGACY = ((5, 0), (7, 5))  # from, and below
# What a CUDA toolkit cannot build for, whoever builds torch with it: CUDA 13.0, release notes, "Deprecated
# architectures": offline compilation for Maxwell, Pascal and Volta was removed.
_FIRST_CAPABILITY = {13: (7, 5)}

_PYTHON_LIBRARIES = ("libtorch_python.so", "torch_python.dll")
_ARCHITECTURE = rb"(?:sm|compute)_\d+[af]?"
_ARCHITECTURES = re.compile(rb"%b(?: %b)*" % (_ARCHITECTURE, _ARCHITECTURE))


class Lack(NamedTuple):
    """A card that torch has no kernels for: what is, and the way out; each a sentence without its full stop."""

    what_is: str
    way_out: str


def covers(architectures: tuple[str, ...], capability: tuple[int, int]) -> bool:
    """Tell whether kernels for `architectures` run on a card of `capability`.

    A kernel (sm_86) runs on cards of the same major and the same or a higher minor number, so 8.6 also serves 8.9; PTX
    (compute_90) on all newer cards; a suffix `a` (sm_90a) binds to exactly that card, `f` (sm_100f) to its major
    number. Source: CUDA programming guide, binary and PTX compatibility.
    """
    for name in architectures:
        kind, _, number = name.partition("_")
        digits = number.rstrip("af")
        if not digits.isdigit():
            continue
        built = (int(digits[:-1]), int(digits[-1]))
        same_major = kind == "sm" or number.endswith("f")
        newer = built < capability and (not same_major or built[0] == capability[0])
        if built == capability or (newer and not number.endswith("a")):
            return True
    return False


def has_kernels(architectures: tuple[str, ...] | None, cuda: str | None, capability: tuple[int, int]) -> bool | None:
    """Tell whether a build of torch has kernels for a card; None where that cannot be known.

    Args:
        architectures: that it was built for; None or empty where they are not known.
        cuda: the CUDA that it was built with, for example `13.0`.
        capability: of the card.
    """
    if architectures:
        return covers(architectures, capability)
    first = _FIRST_CAPABILITY.get(int(cuda.partition(".")[0])) if cuda else None
    return False if first is not None and capability < first else None


def built_architectures(torch_folder: Path) -> tuple[str, ...] | None:
    """Return the architectures that an installed torch was built for, read from its library without loading it.

    `torch.cuda.get_arch_list` answers with the same text (CUDA_ARCH_FLAGS), which is compiled into the library; None
    where there is no such library or no such text.
    """
    for name in _PYTHON_LIBRARIES:
        try:
            with (torch_folder / "lib" / name).open("rb") as file:
                found = _texts(file.fileno())
        except (OSError, ValueError):  # not there; empty
            continue
        return tuple(max(found, key=len).decode().split()) if found else None
    return None


def lack_of_kernels() -> Lack | None:
    """Tell why torch cannot compute on the card that it would use; None where it can, or where that is not known."""
    import torch

    return lack_on(torch.cuda.current_device())


def lack_on(index: int) -> Lack | None:
    """Tell the same of one card of several.

    Args:
        index: of the card, as torch counts.
    """
    import torch

    if torch.version.cuda is None:  # ROCm counts its cards otherwise
        return None
    built = tuple(torch.cuda.get_arch_list())
    capability = torch.cuda.get_device_capability(index)
    if has_kernels(built, torch.version.cuda, capability) is not False:
        return None
    known = ", ".join(built) or f"CUDA {torch.version.cuda}"
    return Lack(
        f"torch {torch.__version__} has no kernels for the {torch.cuda.get_device_name(index)} (compute capability "
        f"{capability[0]}.{capability[1]}): it was built for {known}",
        _another_card(built) or torch_with_kernels(torch.__version__, capability),
    )


def torch_with_kernels(version: str, capability: tuple[int, int]) -> str:
    """Return the way to a torch that has kernels for a card."""
    first, end = _LEGACY
    if first <= capability < end:
        public = version.partition("+")[0]
        return f"pip install --force-reinstall torch=={public} torchvision --index-url {_LEGACY_INDEX}"
    return f"look for a torch whose torch.cuda.get_arch_list() names sm_{capability[0]}{capability[1]} ({TORCH_PAGE})"


def _another_card(built: tuple[str, ...]) -> str:
    import torch

    for index in range(torch.cuda.device_count()):
        if has_kernels(built, torch.version.cuda, torch.cuda.get_device_capability(index)):
            properties = torch.cuda.get_device_properties(index)
            return f"set CUDA_VISIBLE_DEVICES=GPU-{properties.uuid}, which is the {properties.name}, with kernels"
    return ""


def _texts(file: int) -> list[bytes]:
    """Return all texts of a library that are lists of architectures and nothing else."""
    found = []
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as library:
        for begin in (b"\0sm_", b"\0compute_"):  # a search for plain bytes is three times as fast as for a pattern
            place = library.find(begin)
            while place >= 0:
                end = library.find(b"\0", place + 1)
                found.append(library[place + 1 : end if end > 0 else len(library)])
                place = library.find(begin, place + 1)
    return [text for text in found if _ARCHITECTURES.fullmatch(text)]
