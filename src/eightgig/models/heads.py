"""The last layer of a classifier: where it is, how many classes it tells apart, and a new one in its place."""

from collections.abc import Sequence

from torch import nn

from eightgig.core.errors import ConfigurationError


def head_names(module: nn.Module) -> list[str]:
    """Return the dotted names of the layers that make the logits: one, or two for a distilled transformer.

    timm tells by `get_classifier`; otherwise it is the last nn.Linear, or, without any, the last 1x1 nn.Conv2d
    (SqueezeNet).
    """
    if hasattr(module, "get_classifier"):
        found: nn.Module | Sequence[nn.Module] = module.get_classifier()  # type: ignore[operator]
        heads = found if isinstance(found, Sequence) else [found]
        return [name for name, layer in module.named_modules() if any(layer is head for head in heads)]
    return [_last(module, nn.Linear) or _last(module, nn.Conv2d)]


def replace_head(module: nn.Module, num_classes: int) -> None:
    """Put a freshly initialised head for `num_classes` in place; the present one stays if its count is right.

    Raises:
        ConfigurationError: the last layer is not one that makes one logit a class.
    """
    (name,) = head_names(module)
    head = module.get_submodule(name) if name else None
    if isinstance(head, nn.Linear):
        if head.out_features != num_classes:
            module.set_submodule(name, nn.Linear(head.in_features, num_classes, bias=head.bias is not None))
    elif isinstance(head, nn.Conv2d) and head.kernel_size == (1, 1):
        if head.out_channels != num_classes:
            module.set_submodule(name, nn.Conv2d(head.in_channels, num_classes, kernel_size=1))
    else:
        raise ConfigurationError(
            f"{type(module).__name__}: wanted a last nn.Linear or 1x1 nn.Conv2d to replace, found {head!r}. "
            "Choose another classifier."
        )


def start_head_small(module: nn.Module) -> None:
    """Initialise the head with torch's own small weights.

    timm's EfficientNets start theirs uniformly in +-1/sqrt(classes): with a handful of classes the first logits are so
    large that their gradients shake the pretrained layers below. Fine-tuning Lite0 on 700 photos of 5 classes, the mean
    gradient norm of the first epoch fell from 38 to 3 and its mean loss from 2.3 to 1.1 with small weights.
    """
    for name in head_names(module):
        layer = module.get_submodule(name)
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.reset_parameters()


def set_dropout(module: nn.Module, probability: float) -> None:
    """Set the dropout that stands beside the last layer.

    Raises:
        ConfigurationError: this model has none there.
    """
    (name,) = head_names(module)
    parent = module.get_submodule(name.rpartition(".")[0])
    layers = [layer for layer in parent.children() if isinstance(layer, nn.Dropout)]
    if not layers:
        raise ConfigurationError(
            f"model.dropout={probability}: {type(module).__name__} has no dropout before its last layer. "
            "Leave model.dropout empty, or choose a model that has one (EfficientNet, MobileNet, VGG, any of timm)."
        )
    for layer in layers:
        layer.p = probability


def drop_auxiliary_outputs(module: nn.Module) -> None:
    """Switch off the side outputs of GoogLeNet and Inception v3, so that every call gives plain logits."""
    if hasattr(module, "aux_logits"):
        module.aux_logits = False  # type: ignore[assignment]
    for name in ("AuxLogits", "aux1", "aux2"):
        if hasattr(module, name):
            setattr(module, name, None)


def _last(module: nn.Module, kind: type[nn.Module]) -> str:
    return next((name for name, layer in reversed([*module.named_modules()]) if isinstance(layer, kind)), "")
