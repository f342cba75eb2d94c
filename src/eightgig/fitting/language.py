"""Networks of transformers by their configuration: for the process that traces. No weights are loaded.

A question about one goes through `read_network` first: what it is, and whether its layers are alike, so that few of
them stand for all (`layers.py`).
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.fitting.configurations import Head, config_of, head_of
from eightgig.fitting.kv_cache import KvLayers, kv_layers
from eightgig.fitting.libraries import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from eightgig.vram.tracing.workload import Workload

# Periods of layers that are looked for: of sliding and full attention (Gemma 3 has 6), of attention among others.
_LONGEST_PERIOD = 8
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_FEWEST_LAYERS = 4
# So many layers are enough for what the allocator holds beside tensors to be that of the whole network.
_ENOUGH_LAYERS = 8
# Beyond those that are traced: fewer would not be worth a second trace.
_FEWEST_LEFT_OUT = 4


class NetworkConfig(Record):
    """What is known of a network of transformers before anything is traced.

    Attributes:
        config: as `config.json` holds it, with the defaults of its kind.
        head: what it is built as.
        num_layers: None where they are not counted in one number.
        period: of layers that are alike, so that a few stand for all; None where they do not.
        num_parameters: of the whole network.
        max_tokens: that its positions go to; None where nothing says.
        num_linear: of the parameters, those of linear layers but for the head.
        inner_width: the widest that one layer makes of a token.
        kv_layers: what it keeps of each token while it writes.
        has_experts: of which each token takes some; their products are grouped, which kernels do in half
            precision alone.
    """

    name: str
    model_type: str
    config: dict[str, Any]
    head: Head
    num_layers: int | None = None
    period: int | None = None
    num_parameters: int = 0
    vocab_size: int = 0
    max_tokens: int | None = None
    image_size: int | None = None
    num_linear: int = 0
    hidden_size: int = 0
    inner_width: int = 0
    kv_layers: tuple[KvLayers, ...] = ()
    has_experts: bool = False


def read_network(source: str) -> NetworkConfig:
    """Return what is known of a network by its id at Hugging Face, or by a folder with `config.json`.

    Raises:
        ConfigurationError: transformers is missing, there is no such configuration, it cannot be read, or its code is
            not transformers' own.
    """
    needed("transformers", "a network of Hugging Face")
    config = config_of(source)
    head = head_of(config, source)
    try:
        return _known(source, config, head)
    except Exception as error:
        raise ConfigurationError(
            f"{source} cannot be built as a network of transformers ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}): write a factory, and ask for it as package.module:make"
        ) from error


def _known(source: str, config: Any, head: Head) -> NetworkConfig:
    text = config.get_text_config()
    num_layers = getattr(text, "num_hidden_layers", None)
    whole = _built(config, head, "float32")
    made = NetworkConfig(
        name=Path(source).resolve().name if Path(source).is_dir() else source,
        model_type=config.model_type,
        config=json.loads(json.dumps(config.to_dict(), default=str)),
        head=head,
        num_layers=num_layers if isinstance(num_layers, int) else None,
        num_parameters=_numel(whole),
        vocab_size=int(getattr(text, "vocab_size", 0) or 0),
        max_tokens=getattr(text, "max_position_embeddings", None),
        image_size=_image_size(config),
        num_linear=_num_linear(whole),
        hidden_size=int(getattr(text, "hidden_size", 0) or 0),
        inner_width=_inner_width(whole),
        kv_layers=_kv_layers(config, head),
        has_experts=any(getattr(text, name, None) for name in _EXPERTS),
    )
    return made.model_copy(update={"period": _period(made)})


def network(
    config: dict[str, Any],
    model_type: str,
    head: Head,
    *,
    task: str,
    weights: str,
    size: int,
    keeps_outputs: bool = True,
    rank: int = 16,
    num_layers: int | None = None,
) -> "Workload":
    """Return a network of transformers with its own loss.

    Args:
        config: as `read_network` gives it.
        model_type: of it.
        head: what it is built as.
        task: `train`, `lora`, `qlora` or `infer`.
        weights: what weights that are not quantized are held in: `float32`, `bfloat16` or `float16`.
        size: tokens of a sample, or pixels of an image's side.
        keeps_outputs: whether a step's outputs live until the next has made new ones.
        rank: of LoRA's matrices.
        num_layers: of all, the first so many; None takes all.
    """
    from eightgig.vram.tracing.workload import Workload

    made = _with_layers(_made_config(model_type, config), num_layers)
    module = _built(made, head, weights)
    if task in ("lora", "qlora"):
        from eightgig.fitting.adapters import with_adapters

        module = with_adapters(module, rank=rank, four_bits=task == "qlora", dtype=weights)
    held: list[Any] = []

    def loss(network: "nn.Module", batch: Any) -> "Tensor":
        outputs = network(**batch)
        held[:] = [outputs] if keeps_outputs else []
        return outputs.loss

    return Workload(module=module, batch=lambda samples: _batch(head, made, samples, size), loss=loss)


def _built(config: Any, head: Head, dtype: str) -> "nn.Module":
    import torch
    from transformers import models

    config = _without_cache(config)
    factory = getattr(models.auto, f"AutoModelFor{head}")
    with torch.device("meta"):
        module: nn.Module = factory.from_config(config, dtype=getattr(torch, dtype))
    return module


def _without_cache(config: Any) -> Any:
    if hasattr(config, "use_cache"):
        config.use_cache = False
    return config


def _made_config(model_type: str, config: dict[str, Any]) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return CONFIG_MAPPING[model_type].from_dict(config)


def _with_layers(config: Any, num_layers: int | None) -> Any:
    if num_layers is None:
        return config
    text = config.get_text_config()
    whole = text.num_hidden_layers
    for name, value in list(vars(text).items()):  # what says something of each layer
        if isinstance(value, list | tuple) and len(value) == whole:
            setattr(text, name, value[:num_layers])
    text.num_hidden_layers = num_layers
    return config


def _period(known: NetworkConfig) -> int | None:
    """Return after how many layers they are alike: two counts of layers foretell all weights; None where none does."""
    if known.num_layers is None:
        return None
    text = _made_config(known.model_type, known.config).get_text_config()
    for period in range(1, _LONGEST_PERIOD + 1):
        few, more = traced_layers(period, known.num_layers)
        if known.num_layers < few + more + _FEWEST_LEFT_OUT:
            return None
        if not _repeats(text, known.num_layers, period):
            continue
        try:
            sizes = [_numel(_built(_with_layers(_copy(known), count), known.head, "float32")) for count in (few, more)]
        except Exception:  # noqa: BLE001  a configuration that cannot be cut is traced whole
            return None
        grown = (known.num_layers - more) * (sizes[1] - sizes[0])
        if grown == (known.num_parameters - sizes[1]) * (more - few):
            return period
    return None


def traced_layers(period: int, num_layers: int) -> tuple[int, int]:
    """Return the two numbers of layers that are traced where they are alike after `period`.

    Both leave as much of a period over as the whole does. In fewer than four the peak may lie at another moment.
    """

    def at_least(least: int) -> int:
        return least + (num_layers - least) % period

    few = at_least(_FEWEST_LAYERS)
    return few, at_least(max(_ENOUGH_LAYERS, few + period))


def _copy(known: NetworkConfig) -> Any:
    return _made_config(known.model_type, json.loads(json.dumps(known.config)))


def _repeats(text: Any, num_layers: int, period: int) -> bool:
    lists = (value for value in vars(text).values() if isinstance(value, list | tuple) and len(value) == num_layers)
    return all(list(value) == (list(value[:period]) * num_layers)[:num_layers] for value in lists)


def _numel(module: "nn.Module") -> int:
    return sum(weight.numel() for weight in module.parameters())


def _linears(module: Any) -> "Iterator[Tensor]":
    """Yield the matrices of linear layers, but for the head's."""
    from torch import nn

    head = module.get_output_embeddings()
    for part in module.modules():
        if part is not head and (isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"):
            yield part.weight


def _num_linear(module: "nn.Module") -> int:
    return sum(weight.numel() for weight in _linears(module))


def _inner_width(module: "nn.Module") -> int:
    return max((max(weight.shape) for weight in _linears(module)), default=0)


def _kv_layers(config: Any, head: Head) -> tuple[KvLayers, ...]:
    if head != "CausalLM":
        return ()
    try:
        return kv_layers(config)
    except Exception:  # noqa: BLE001  a kind that keeps otherwise: training is answered all the same
        return ()


def _image_size(config: Any) -> int | None:
    size = getattr(config, "image_size", None)
    return size if isinstance(size, int) else None


def _batch(head: Head, config: Any, samples: int, size: int) -> dict[str, "Tensor"]:
    import torch

    if head == "ImageClassification":
        channels = getattr(config, "num_channels", 3)
        return {
            "pixel_values": torch.empty(samples, channels, size, size),
            "labels": torch.zeros(samples, dtype=torch.long),
        }
    ids = torch.zeros(samples, size, dtype=torch.long)
    if head == "SequenceClassification":
        return {"input_ids": ids, "labels": torch.zeros(samples, dtype=torch.long)}
    return {"input_ids": ids, "labels": ids.clone()}
