"""Any classifier of torchvision or timm by name, with the weights and the number of classes that are wanted."""

import difflib
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import timm
import torchvision
from timm.data.config import resolve_data_config
from torch import nn

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.models.heads import drop_auxiliary_outputs, replace_head, set_dropout, start_head_small
from eightgig.models.network import ImageNetwork
from eightgig.models.weights import load_from, start_from
from eightgig.tasks.classification import efficientnet_lite

Library = Literal["torchvision", "timm"]


def build_classifier(name: str, *, weights: str, num_classes: int, dropout: float | None = None) -> ImageNetwork:
    """Return the classifier `name` with `num_classes` outputs, on the CPU, in float32.

    A pretrained head is kept when its class count is `num_classes`, otherwise it is initialised anew.

    Args:
        name: torchvision is asked first; `timm/` or `torchvision/` before the name forces one.
        weights: `default`, `packaged`, `none` or a path (see ModelParameters).
        num_classes: outputs, at least 1.
        dropout: probability before the last layer; None keeps the model's own.

    Raises:
        ConfigurationError: no such model, or it has no head or dropout of the wanted kind.
        WeightsError: the weights cannot be had, or belong to another model.
    """
    if num_classes < 1:
        raise ConfigurationError(f"model `{name}`: wanted at least 1 class, found {num_classes}")
    library, plain_name = _resolve(name)
    if library == "torchvision":
        return _from_torchvision(plain_name, weights, num_classes, dropout)
    return _from_timm(plain_name, weights, num_classes, dropout)


def _resolve(name: str) -> tuple[Library, str]:
    prefix, _, rest = name.rpartition("/")
    if prefix in ("", "torchvision") and rest in _torchvision_names():
        return "torchvision", rest
    if prefix in ("", "timm") and timm.is_model(rest):
        return "timm", rest
    known = {"torchvision": _torchvision_names(), "timm": timm.list_models()}.get(
        prefix, (*_torchvision_names(), *timm.list_models())
    )
    near = difflib.get_close_matches(rest.lower(), known, n=5, cutoff=0.5)
    raise ConfigurationError(
        f"model `{name}`: neither torchvision nor timm has a classifier of this name. "
        f"Nearest: {', '.join(dict.fromkeys(near)) or 'none'}."
    )


@cache
def _torchvision_names() -> tuple[str, ...]:
    return tuple(torchvision.models.list_models(module=torchvision.models))


def _from_torchvision(name: str, weights: str, num_classes: int, dropout: float | None) -> ImageNetwork:
    pretrained = torchvision.models.get_model_weights(name).DEFAULT
    wants_default = weights == "default"
    module: Any = _build(
        lambda: torchvision.models.get_model(name, weights=pretrained if wants_default else None), name, weights
    )
    drop_auxiliary_outputs(module)
    if hasattr(module, "transform_input"):
        # Without weights torchvision leaves this off, so a reloaded model would see other colours than it learnt.
        module.transform_input = True
    replace_head(module, num_classes)
    if dropout is not None:
        set_dropout(module, dropout)
    source = f"torchvision {pretrained} (download)" if wants_default else _load(module, name, weights)
    preset = pretrained.transforms()
    # A vision transformer has the size of its position table built in; it may differ from the best weights' size.
    size = getattr(module, "image_size", preset.crop_size[0])
    return ImageNetwork(module, name, "torchvision", source, tuple(preset.mean), tuple(preset.std), size)


def _from_timm(name: str, weights: str, num_classes: int, dropout: float | None) -> ImageNetwork:
    wants_default = weights == "default"
    overrides: dict[str, Any] = {} if dropout is None else {"drop_rate": dropout}
    # The packaged head has 1,000 classes; built with the wanted count, it is kept or left out by `load_from`.
    module = _build(
        lambda: timm.create_model(name, pretrained=wants_default, num_classes=num_classes, **overrides), name, weights
    )
    config = resolve_data_config({}, model=module)
    if not (wants_default and _pretrained_config(module).get("num_classes") == num_classes):
        start_head_small(module)
    source = f"timm {_hub_name(module)} (download)" if wants_default else _load(module, name, weights)
    mean, std = (efficientnet_lite.MEAN, efficientnet_lite.STD) if _is_lite0(name) else (config["mean"], config["std"])
    return ImageNetwork(module, name, "timm", source, tuple(mean), tuple(std), config["input_size"][-1])


def _build(create: Callable[[], nn.Module], name: str, weights: str) -> nn.Module:
    """Call `create`; a download that fails becomes a WeightsError with the ways out."""
    try:
        with warnings.catch_warnings():
            # GoogLeNet and Inception v3 announce another initialisation; ours is whichever the library has.
            warnings.filterwarnings("ignore", "The default weight initialization of", FutureWarning)
            return create()
    except (OSError, RuntimeError) as error:  # no network; a broken download; a model that has no weights
        if weights != "default":
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"model `{name}`: wanted its pretrained weights from the network, found: {reason}. "
            "Ways out: connect and try again; weights=none (random); weights=packaged with model name "
            f"{efficientnet_lite.ARCHITECTURE}; or weights=<path of a .safetensors, .pt or .pth file>."
        ) from error


def _load(module: nn.Module, name: str, weights: str) -> str:
    """Fill `module` with packaged or local weights, or leave it random; tell which."""
    if weights != "packaged":
        return start_from(module, weights)
    if not _is_lite0(name):
        raise WeightsError(
            f"model `{name}`: no packaged weights. Packaged are those of: {efficientnet_lite.ARCHITECTURE}. "
            "Choose that model, or weights: default, none or a path."
        )
    return load_from(module, efficientnet_lite.packaged_weights(), origin=efficientnet_lite.describe_packaged())


def _is_lite0(name: str) -> bool:
    return name.partition(".")[0] == efficientnet_lite.ARCHITECTURE  # timm may add a tag: `.in1k`


def _pretrained_config(module: nn.Module) -> dict[str, Any]:
    return dict(getattr(module, "pretrained_cfg", None) or {})


def _hub_name(module: nn.Module) -> str:
    config = _pretrained_config(module)
    return f"{config.get('architecture', type(module).__name__)}.{config.get('tag') or 'default'}"
