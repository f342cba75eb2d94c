"""LoRA on networks of transformers: matrices added for training, and added to the weights in the end."""

import warnings
from typing import Any

from torch import nn

from eightgig.core.errors import ConfigurationError
from eightgig.tasks.text.parameters import LoraParameters

# By transformers' names of the layers: attention and perceptron of GPT-2, and of BERT.
_TARGETS = {"gpt2": ("c_attn", "c_proj", "c_fc"), "bert": ("query", "key", "value", "dense")}


def add_lora(module: nn.Module, parameters: LoraParameters) -> nn.Module:
    """Return the network with frozen weights and trainable matrices.

    Args:
        module: a causal language model of transformers; it is changed.
        parameters: how.

    Raises:
        ConfigurationError: peft is not installed, or no layer has the name of a target.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ConfigurationError(
            "model.lora wants the library peft, which is not installed: `pip install eightgig[lora]`, or set "
            "model.lora to null to train all weights."
        ) from error
    network: Any = module
    kind = network.config.model_type
    targets = parameters.targets or _TARGETS.get(kind)
    if targets is None:
        raise ConfigurationError(f"model.lora.targets: name the layers of {kind} that get matrices; known: {_known()}.")
    config = LoraConfig(
        r=parameters.rank,
        lora_alpha=parameters.alpha,  # type: ignore[arg-type]  # peft divides it; a fraction is fine
        lora_dropout=parameters.dropout,
        target_modules=list(targets),
        fan_in_fan_out=kind == "gpt2",  # its layers are transposed (transformers' Conv1D)
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            # peft asks transformers 5 by a name that it will drop.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            adapted: nn.Module = get_peft_model(network, config)
    except ValueError as error:
        raise ConfigurationError(f"model.lora.targets: {error}") from error
    return adapted


def merge_lora(module: nn.Module) -> nn.Module:
    """Return the plain network of transformers, its weights with the matrices' products added."""
    adapted: Any = module
    merged: nn.Module = adapted.merge_and_unload()
    return merged


def _known() -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in _TARGETS.items())
