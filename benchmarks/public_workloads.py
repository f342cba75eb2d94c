"""The networks of public runs, built as those runs built them: for the process that traces (`public_runs.py`).

xMem's runs, as its code has them: float32, torchvision's networks without weights on 86 x 86 pixels, language models
from their published configurations on 128 tokens with the inputs as labels. `outputs` of a step live until the next
forward pass has made new ones.
"""

from typing import Any

_SIDE, _TOKENS = 86, 128
# By the source's spelling: torchvision's name, and the number of classes.
IMAGE_MODELS = {
    "ConvNeXtTiny": ("convnext_tiny", 1000),
    "ConvNeXtBase": ("convnext_base", 1000),
    "MnasNet": ("mnasnet1_0", 10),
    "MobileNetV2": ("mobilenet_v2", 1000),
    "VGG16": ("vgg16", 1000),
    "VGG19": ("vgg19", 1000),
}
_T5 = {"vocab_size": 32128, "d_kv": 64, "decoder_start_token_id": 0, "pad_token_id": 0}
# By the source's spelling: the class of transformers, and its published configuration where that is not the default.
TEXT_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "distilbert/distilgpt2": ("GPT2LMHeadModel", {"n_layer": 6}),
    "openai-community/gpt2": ("GPT2LMHeadModel", {}),
    "T5-small": ("T5ForConditionalGeneration", {**_T5, "d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8}),
    "t5-base": ("T5ForConditionalGeneration", {**_T5, "d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}),
}


def image_model(name: str) -> tuple[Any, Any, Any]:
    """Return a network of torchvision with cross-entropy."""
    import torch
    from torch.nn import functional
    from torchvision.models import get_model

    known, num_classes = IMAGE_MODELS[name]
    outputs: list[Any] = []

    def batch(size: int) -> Any:
        return torch.empty(size, 3, _SIDE, _SIDE), torch.zeros(size, dtype=torch.int64)

    def loss(module: Any, made: Any) -> Any:
        outputs[:] = [module(made[0])]
        return functional.cross_entropy(outputs[0], made[1])

    return get_model(known, num_classes=num_classes), loss, batch


def text_model(name: str) -> tuple[Any, Any, Any]:
    """Return a language model of transformers with random weights and its own loss."""
    import torch
    import transformers

    _keep_masks()
    kind = getattr(transformers, TEXT_MODELS[name][0])
    # T5 had no fused attention in transformers 4.51, which the runs had.
    eager = {"attn_implementation": "eager"} if "T5" in TEXT_MODELS[name][0] else {}
    config = kind.config_class(**TEXT_MODELS[name][1], **eager)
    outputs: list[Any] = []

    def batch(size: int) -> Any:
        tokens = torch.zeros(size, _TOKENS, dtype=torch.int64)
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": torch.zeros_like(tokens)}

    def loss(module: Any, made: Any) -> Any:
        outputs[:] = [module(**made)]
        return outputs[0].loss

    return kind(config), loss, batch


def _keep_masks() -> None:
    """Have transformers 4 build attention masks, as for the runs' padded texts: whether one is needed it reads."""
    try:
        from transformers import modeling_attn_mask_utils as masks
    except ImportError:  # transformers 5 decides without values
        return
    converter: Any = masks.AttentionMaskConverter
    converter._ignore_causal_mask_sdpa = staticmethod(lambda *_, **__: False)
