"""Weights from a file into a model: everything must match but a head of another class count."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from eightgig.core.errors import WeightsError
from eightgig.models.heads import head_names

RANDOM = "random initialisation"
"""Where weights come from that nobody gave."""
_ENDINGS = (".safetensors", ".pt", ".pth")
# Side outputs that only help training; a model built here has none, a downloaded file may still carry them.
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
_MOST_NAMES_SHOWN = 5


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors, .pt or .pth file by name, on the CPU. No code in the file is run.

    Raises:
        WeightsError: no such file, another ending, damaged, or something else than a state dict.
    """
    if path.suffix.lower() not in _ENDINGS or not path.is_file():
        found = "no such file" if not path.is_file() else f"the ending `{path.suffix}`"
        raise WeightsError(
            f"weights `{path}`: wanted a file ending in {', '.join(_ENDINGS)}, found {found}. "
            "Give such a path, or one of: default, packaged, none."
        )
    return _only_tensors(_read(path), path)


def start_from(module: nn.Module, weights: str) -> str:
    """Load the file that `weights` names, or leave the module random where it is `none`; return which, for a person.

    Raises:
        WeightsError: the file cannot be read, or is another model's.
    """
    if weights == "none":
        return RANDOM
    return load_from(module, read_state_dict(Path(weights).expanduser()), origin=f"file {Path(weights).name}")


def load_from(module: nn.Module, tensors: Mapping[str, Tensor], *, origin: str) -> str:
    """Load tensors that may have another head; return their origin, with what was left out, for a person."""
    left_out = load_matching(module, tensors, head=head_names(module), origin=origin)
    return f"{origin}; {left_out}" if left_out else origin


def load_matching(module: nn.Module, weights: Mapping[str, Tensor], *, head: Sequence[str], origin: str) -> str:
    """Load `weights` into `module` and tell what was left out ("" when nothing was).

    Args:
        module: changed in place.
        weights: tensors by the module's own names.
        head: names of the last layers; one whose shape differs stays as it was initialised.
        origin: where the weights come from, for the error's text.

    Raises:
        WeightsError: a name is missing, left over, or has another shape outside the head.
    """
    wanted = module.state_dict()
    weights = {name: tensor for name, tensor in weights.items() if name in wanted or not name.startswith(_AUXILIARY)}
    kept_head = [layer for layer in head if _same_shapes(layer, wanted, weights)]
    new_head = {name for layer in head if layer not in kept_head for name in wanted if name.startswith(f"{layer}.")}
    _refuse_mismatch({n: t for n, t in wanted.items() if n not in new_head}, weights, new_head, origin)
    module.load_state_dict({**wanted, **{n: t for n, t in weights.items() if n not in new_head}})
    return f"head `{', '.join(head)}` starts anew" if new_head else ""


def _read(path: Path) -> object:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        # Of before torch 1.6: from memory, as the reader of a file makes room for whatever length stands in it.
        source = path if _begins_as_zip(path) else io.BytesIO(path.read_bytes())
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the libraries make of a file that is none
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"weights `{path}`: wanted a plain state dict, found a file that cannot be read ({reason}). "
            "It may be truncated, or hold whole Python objects: save `model.state_dict()` alone."
        ) from error


def _begins_as_zip(path: Path) -> bool:
    """Tell how torch will read it: unlike zipfile it looks at the beginning."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def _only_tensors(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]  # the usual wrapper of training scripts
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(
            f"weights `{path}`: wanted a state dict (names to tensors), found {type(content).__name__} with other "
            "things in it. Save `model.state_dict()` alone."
        )
    return dict(content)


def _same_shapes(layer: str, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    names = [name for name in wanted if name.startswith(f"{layer}.")]
    return all(name in found and found[name].shape == wanted[name].shape for name in names)


def _refuse_mismatch(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], new_head: set[str], origin: str
) -> None:
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted and name not in new_head]
    reshaped = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    if missing or unexpected or reshaped:
        raise WeightsError(
            f"{origin}: wanted the {len(wanted)} tensors of this model, found those of another. "
            f"Missing: {_some(missing)}. Unexpected: {_some(unexpected)}. Other shape: {_some(reshaped)}. "
            "Name the model that the file was saved from."
        )


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _MOST_NAMES_SHOWN} more" if len(names) > _MOST_NAMES_SHOWN else ""
    return ", ".join(names[:_MOST_NAMES_SHOWN]) + rest if names else "none"
