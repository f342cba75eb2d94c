"""What all tasks on text answer in the same way (see `eightgig.stages.task.Task`)."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Node

from eightgig.core.device import loader_processes
from eightgig.models.cards import TextCard
from eightgig.models.parameters import TextModelParameters
from eightgig.stages.annotations import TextNetwork, TokenStore
from eightgig.stages.task import Task, TrainingSamples, stage_node
from eightgig.training.parameters import TrainParameters

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TextTask(Task):
    """A network of transformers on tokens; a wing says the rest."""

    def config_from_card(self, card: TextCard) -> TextModelParameters:
        """Return the network by the configuration in its card, so that nothing is downloaded."""
        from eightgig.tasks.text.model import config_of

        return TextModelParameters(
            name=card.model, weights="none", max_tokens=card.max_tokens, config=config_of(card.config)
        )

    def prepare(self, network: TextNetwork, samples: TrainingSamples) -> None:
        """Refuse a store whose tokens another tokenizer made."""
        from eightgig.data.store.tokenizers import fingerprint
        from eightgig.data.store.tokens import require_tokenizer
        from eightgig.tasks.text.model import read_tokenizer

        parameters = network.parameters
        if parameters.tokenizer or parameters.weights != "none":  # else the store brings the tokenizer
            require_tokenizer(samples.store, fingerprint(read_tokenizer(parameters)))

    def card(self, network: TextNetwork, store: TokenStore, *, size: int, common: Mapping[str, Any]) -> TextCard:
        """Return the card, with the configuration and the tokenizer's fingerprint."""
        return TextCard(max_tokens=size, config=network.config, tokenizer_sha256=store.tokenizer_sha256, **common)

    def without_weights(self, model: TextModelParameters) -> TextModelParameters:
        """Return the same network by its configuration, with random weights."""
        from eightgig.tasks.text.model import shape_parameters

        return shape_parameters(model)

    def check_store(self, card: TextCard, store: TokenStore) -> None:
        """Refuse tokens of another tokenizer than the network was trained with."""
        from eightgig.data.store.tokens import require_tokenizer

        require_tokenizer(store, card.tokenizer_sha256)

    def dynamic_axes(self) -> Mapping[int, str]:
        """Return batch and tokens: texts may be of any number and length."""
        return {0: "batch", 1: "tokens"}

    def export_module(self, network: TextNetwork) -> Any:
        """Return the network from tokens to logits."""
        from eightgig.tasks.text.model import Logits

        return Logits(network.module)

    def file_card(self, card: TextCard) -> dict[str, str]:
        """Return the classes, the longest text and the tokenizer's fingerprint."""
        from eightgig.export.card import TextModelCard

        named = card.model_dump(include={"model", "classes", "max_tokens", "tokenizer_sha256"})
        return TextModelCard(**named, weights_sha256=card.sha256).to_metadata()


def dynamic_int8() -> Node:
    """Return the node that makes the INT8 file without calibration, which the benchmark sets beside the others."""
    return stage_node(export_dynamic, {"onnx_fp32": "onnx_fp32"}, "compressed_onnx")


def export_dynamic(onnx_fp32: bytes) -> dict[str, bytes]:
    """Return the network with its matrix products in INT8, whose scales are found while it runs."""
    from eightgig.export.int8.dynamic import quantize_dynamically

    return {"int8_dynamic_cpu": quantize_dynamically(onnx_fp32)}


@lru_cache(maxsize=4)
def tokenizer_of(tokenizer_json: str) -> "Tokenizer":
    """Return the tokenizer of a `tokenizer.json`, which cuts texts as that says and pads nothing."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    return tokenizer


def cutting(tokenizer_json: str, model: TextModelParameters) -> str:
    """Return the same tokenizer, cutting texts at the network's `max_tokens`, on the side that `model` says."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.max_tokens, direction=model.truncation_side)
    return str(tokenizer.to_str())


def filling_up(tokenizer_json: str, model: TextModelParameters) -> str:
    """Return the same tokenizer with the network's padding written in it, where `padding_in` finds it."""
    from tokenizers import Tokenizer

    from eightgig.tasks.text.special_tokens import padding_of

    tokenizer, token = Tokenizer.from_str(tokenizer_json), padding_of(model)
    tokenizer.enable_padding(pad_id=token, pad_token=tokenizer.id_to_token(token) or "")
    return str(tokenizer.to_str())


@lru_cache(maxsize=4)
def padding_in(tokenizer_json: str) -> int:
    """Return the id that fills up texts in a batch; 0, which is BERT's, where the tokenizer was kept without."""
    padding = json.loads(tokenizer_json).get("padding") or {}
    return int(padding.get("pad_id", 0))


def end_of_text(model: Any) -> int | None:
    """Return the id of the token that ends a text by the network's configuration; None where it names none."""
    from eightgig.tasks.text.special_tokens import end_of_text_id

    return end_of_text_id(model)


def loading(train: TrainParameters) -> dict[str, Any]:
    """Return how training batches are loaded, as `token_batches` takes it."""
    import torch

    workers = loader_processes(train.num_workers)
    return {"shuffle": True, "seed": train.seed, "num_workers": workers, "pin_memory": torch.cuda.is_available()}
