"""The networks of public runs of fine-tuning, built by the libraries that the runs used: `other_runs.py`.

Built without values. What the libraries' own scripts hold beside the network is held here too.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_RESISC45 = 45  # classes of the data set that torchao's script trains on
_BERT_LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "attn_implementation": "eager",
}
# black-forest-labs/FLUX.2-klein-base-4B; with it the number of parameters is the published one.
_FLUX2_KLEIN = {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680}
_FLUX2_KLEIN_DEFAULTS = {"in_channels": 128, "attention_head_dim": 128, "guidance_embeds": False, "mlp_ratio": 3.0}
_DINO_BASE: dict[str, Any] = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
_PROMPT_TOKENS = 512
# peft's script keeps the encoded prompts and images of its training set on the card: 20 images less 2 and 4.
_CACHED_PROMPTS = 14


def torchtune_model(network: str, tokens: int, adapters: dict[str, Any], chunked_loss: bool) -> tuple[Any, Any, Any]:
    """Return a network of torchtune with the loss of its recipes, as `full_finetune_single_device.py` runs it.

    Args:
        network: the name of its builder in `torchtune.models.llama3_2`.
        tokens: in each packed sample.
        adapters: of LoRA; none trains all weights.
        chunked_loss: whether logits are made and turned to float32 in eight pieces.
    """
    from torchtune.models import llama3_2
    from torchtune.modules.loss import CEWithChunkedOutputLoss
    from torchtune.modules.peft import get_adapter_params, set_trainable_params

    torch.set_default_dtype(torch.bfloat16)  # as the recipe does around what it builds
    try:
        module: Any = getattr(llama3_2, network)(**adapters)
    finally:
        torch.set_default_dtype(torch.float32)
    if adapters:
        set_trainable_params(module, get_adapter_params(module))
    judge: Any = CEWithChunkedOutputLoss() if chunked_loss else nn.CrossEntropyLoss()
    if chunked_loss:
        module.set_num_output_chunks(judge.num_output_chunks)
    held: list[Any] = []  # what the loop's own variables hold until they are set anew

    def batch(size: int) -> Any:
        made = [torch.zeros(size, tokens, dtype=torch.int64) for _ in range(3)]
        return dict(zip(("tokens", "labels", "input_pos"), made, strict=True))

    def loss(network: Any, made: dict[str, Tensor]) -> Any:
        held[:] = made.values()
        labels = torch.hstack((made["labels"][..., 1:], made["labels"][:, :1]))
        logits = network(tokens=made["tokens"], input_pos=made["input_pos"])
        if chunked_loss:
            return judge(logits, labels)
        return judge(logits.reshape(-1, logits.size(-1)), labels.reshape(-1))

    return module, loss, batch


def vision_model(network: str, side: int) -> tuple[Any, Any, Any]:
    """Return a network of timm with cross-entropy, as torchao's `benchmark_low_bit_adam.py` runs it."""
    import timm

    with torch.device("meta"):
        module = timm.create_model(network, img_size=side, num_classes=_RESISC45)

    def batch(size: int) -> Any:
        return torch.empty(size, 3, side, side), torch.zeros(size, dtype=torch.int64)

    return module, lambda network, made: functional.cross_entropy(network(made[0]), made[1]), batch


def bert_large(tokens: int) -> tuple[Any, Any, Any]:
    """Return BERT-large for sequence classification, with the attention that transformers had in 2022."""
    from transformers import BertConfig, BertForSequenceClassification

    with torch.device("meta"):
        module = BertForSequenceClassification(BertConfig(**_BERT_LARGE))

    def batch(size: int) -> Any:
        names = ("input_ids", "attention_mask", "token_type_ids")
        made = {name: torch.zeros(size, tokens, dtype=torch.int64) for name in names}
        return {**made, "labels": torch.zeros(size, dtype=torch.int64)}

    return module, lambda network, made: network(**made).loss, batch


class _Dreambooth(nn.Module):
    """What peft's image script has on the card: the network, the judge of its images, and encoded data."""

    def __init__(self, network: nn.Module, latent_side: int) -> None:
        super().__init__()
        from transformers import Dinov2Config, Dinov2Model

        self.network = network
        self.judge = Dinov2Model(Dinov2Config(**_DINO_BASE)).requires_grad_(False)
        half = torch.bfloat16
        self.register_buffer("prompts", torch.empty(_CACHED_PROMPTS, _PROMPT_TOKENS, 7680, dtype=half))
        self.register_buffer("latents", torch.empty(_CACHED_PROMPTS, 128, latent_side, latent_side, dtype=half))


def flux_with_peft(side: int, adapter: dict[str, Any], trainable: int) -> tuple[Any, Any, Any]:
    """Return FLUX.2-klein with an adapter of peft, as peft's `method_comparison/image-gen` trains it.

    Args:
        side: of the images, in pixels.
        adapter: peft's configuration; the frozen network is in bfloat16, what is trained of it in float32.
        trainable: the published number of trained parameters.

    Raises:
        ValueError: the adapter has another: the run's has settings that are not stated.
    """
    import peft
    from diffusers import Flux2Transformer2DModel

    with torch.device("meta"):
        bare: Any = Flux2Transformer2DModel(**_FLUX2_KLEIN, **_FLUX2_KLEIN_DEFAULTS).to(torch.bfloat16)
        bare.enable_gradient_checkpointing()
        module: Any = _Dreambooth(peft.get_peft_model(bare, peft.get_peft_config(dict(adapter))), side // 16)
    found = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    if found != trainable:
        raise ValueError(f"the adapter trains {found} parameters, the run's {trainable}: not all of it is stated")
    return module, _flow_matching, lambda size: torch.zeros(size, dtype=torch.int64)


_held: list[Any] = []  # what the loop's own variables hold until they are set anew


def _flow_matching(module: Any, indices: Tensor) -> Any:
    latents, prompts = module.latents.index_select(0, indices), module.prompts.index_select(0, indices)
    noise = torch.randn_like(latents)
    sigmas = torch.ones(len(indices), 1, 1, 1, dtype=latents.dtype)
    noisy = (1.0 - sigmas) * latents + sigmas * noise
    packed = noisy.flatten(2).transpose(1, 2)
    image_ids = torch.zeros(len(indices), packed.shape[1], 4, dtype=torch.int64)
    text_ids = torch.zeros(len(indices), prompts.shape[1], 4, dtype=torch.int64)
    made = module.network(
        hidden_states=packed,
        timestep=torch.ones(len(indices)),
        guidance=None,
        encoder_hidden_states=prompts,
        txt_ids=text_ids,
        img_ids=image_ids,
        return_dict=False,
    )[0][:, : packed.shape[1]]
    made = made.transpose(1, 2).reshape(latents.shape)
    _held[:] = latents, prompts, noise, noisy, packed, made
    weighting = torch.ones_like(sigmas)
    squared = weighting.float() * (made.float() - (noise - latents).float()) ** 2
    return squared.reshape(len(indices), -1).mean(1).mean()
