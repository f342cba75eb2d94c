"""Configurations of transformers, and what is said where one cannot be read: one line, with the way out."""

import json
from pathlib import Path
from typing import Any, Literal

from eightgig.core.errors import ConfigurationError

Head = Literal["CausalLM", "Seq2SeqLM", "MaskedLM", "ImageClassification", "SequenceClassification"]
# In this order: what a configuration can be built as, the richest first.
_HEADS: tuple[Head, ...] = ("CausalLM", "Seq2SeqLM", "MaskedLM", "ImageClassification", "SequenceClassification")


def config_of(source: str) -> Any:
    """Return the configuration of an id, `owner/name` or `owner/name@revision`, or of a folder.

    Raises:
        ConfigurationError: there is none, it cannot be read, or its code is not transformers' own.
    """
    from transformers import AutoConfig

    name, revision = source, ""
    if Path(source).is_dir():
        _check_folder(Path(source))
    else:
        name, _, revision = source.partition("@")
    try:
        # Shapes are all that is read of it: a branch that moves cannot bring code, only another answer.
        return AutoConfig.from_pretrained(name, revision=revision or "main", trust_remote_code=False)
    except Exception as error:
        raise ConfigurationError(_why_not(source, error)) from error


def _check_folder(folder: Path) -> None:
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as a configuration ({error}): name a folder with the config.json of transformers"
        ) from error
    if not isinstance(content, dict) or not content.get("model_type"):
        raise ConfigurationError(
            f"{path} has no model_type: name a folder with the config.json of a network of transformers"
        )


def _why_not(source: str, error: Exception) -> str:
    """Return one line for what transformers and its hub say in many."""
    said = f"{type(error).__name__} {error}".lower()
    if "trust_remote_code" in said or "custom code" in said:
        return (
            f"{source} has code of its own, which eightgig never runs: write a factory that builds it, and ask for it "
            "as package.module:make"
        )
    if not Path(source).is_dir() and any(word in said for word in ("404", "not a valid model identifier", "gated")):
        return (
            f"there is no {source!r} at Hugging Face, or it wants a login (hf auth login): check the id (torchvision's "
            "and timm's networks are torchvision:NAME and timm:NAME), or name a folder with its config.json"
        )
    if not Path(source).is_dir() and any(word in said for word in ("connect", "offline", "resolve", "timed out")):
        return (
            f"the configuration of {source!r} is not on this machine, and huggingface.co cannot be reached: name a "
            "folder with its config.json, which is all that is needed (names of torchvision and timm are written "
            "torchvision:NAME and timm:NAME)"
        )
    first = " ".join(str(error).split())[:300]
    return (
        f"{source} cannot be read as a configuration of transformers ({type(error).__name__}: {first}): name an id, or "
        "a folder with a config.json that this transformers knows"
    )


def head_of(config: Any, source: str) -> Head:
    """Return what a configuration is built as: the head that it states, or the richest that there is.

    Raises:
        ConfigurationError: none with a loss is known.
    """
    from transformers.models.auto import modeling_auto

    stated = " ".join(getattr(config, "architectures", None) or ())
    mappings = {
        head: getattr(modeling_auto, name)
        for head, name in (
            ("CausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"),
            ("Seq2SeqLM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"),
            ("MaskedLM", "MODEL_FOR_MASKED_LM_MAPPING_NAMES"),
            ("ImageClassification", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES"),
            ("SequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES"),
        )
    }
    can = [head for head in _HEADS if config.model_type in mappings[head]]
    for head in can:
        if mappings[head][config.model_type] in stated:
            return head
    if not can:
        raise ConfigurationError(
            f"{source} is a {config.model_type}, which has no head with a loss that eightgig knows (language models, "
            "classifiers of texts and images): write a factory, and ask for it as package.module:make"
        )
    return can[0]
