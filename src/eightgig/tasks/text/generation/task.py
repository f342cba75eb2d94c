"""What is particular to the text generator: its network, its blocks of text, its loss."""

from collections.abc import Iterable, Sequence
from typing import Any

from eightgig.models.cards import TextCard
from eightgig.stages.annotations import Batches, Evaluator, Objective, TextNetwork, TokenStore, WorkloadSpec
from eightgig.stages.inputs import for_evaluation
from eightgig.stages.task import Records
from eightgig.tasks.text.generation.parameters import GeneratorModelParameters
from eightgig.tasks.text.parameters import CorpusDataParameters
from eightgig.tasks.text.task import TextTask, loading
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import Precision

_TRACED_TOKENS = 4

RECORDS: Records = {"model": GeneratorModelParameters, "data": CorpusDataParameters, "train": TrainParameters}


class TextGenerator(TextTask):
    """The case study's answers to the stages' questions (see `eightgig.stages.task.Task`).

    Args:
        writes_in: precision of the trained network while it writes, for the memory planner.
    """

    records = RECORDS

    def __init__(self, writes_in: Precision = "fp32") -> None:
        self._writes_in = writes_in

    def num_outputs(self, store: TokenStore) -> int:
        """Return the size of the vocabulary."""
        return store.vocab_size

    def build_network(self, model: GeneratorModelParameters, num_classes: int) -> TextNetwork:
        """Return the language model, with trainable matrices beside frozen weights where LoRA is asked for."""
        from dataclasses import replace

        from eightgig.tasks.text.model import build_text_network

        network = build_text_network(model, "causal_lm", num_outputs=num_classes)
        lora = getattr(model, "lora", None)  # a blank network of a card has none
        if lora is None:
            return network
        from eightgig.tasks.text.lora import add_lora

        return replace(network, module=add_lora(network.module, lora))

    def merge_weights(self, network: TextNetwork, state: dict[str, Any]) -> dict[str, Any]:
        """Return the weights with LoRA's matrices added to them, so that nothing behind need know of them."""
        if getattr(network.parameters, "lora", None) is None:
            return state
        from eightgig.tasks.text.lora import merge_lora

        network.module.cpu().load_state_dict(state)
        # Tied weights are one tensor; a file of weights wants each by itself.
        return {name: weight.clone() for name, weight in merge_lora(network.module).state_dict().items()}

    def generation_workload(self, model: GeneratorModelParameters, num_classes: int) -> WorkloadSpec:
        """Return where the memory planner finds the network writing the last tokens of a text of the full length."""
        from eightgig.vram.tracing.spec import WorkloadSpec

        options = {"model": model.model_dump(mode="json"), "num_classes": num_classes}
        return WorkloadSpec(factory=f"{__name__}:make_writing", options={**options, "precision": self._writes_in})

    def objective(self, network: TextNetwork, train: TrainParameters) -> Objective:  # noqa: ARG002 - one loss
        """Return the cross-entropy of the next token."""
        from eightgig.tasks.text.generation.objective import CausalObjective

        return CausalObjective()

    def train_batches(
        self, store: TokenStore, indices: Iterable[int], *, size: int, batch_size: int, train: TrainParameters
    ) -> Batches:
        """Return blocks of text, shuffled anew in each epoch."""
        return _blocks(store, indices, size=size, batch_size=batch_size, **loading(train))

    def eval_batches(
        self, store: TokenStore, indices: Iterable[int], *, size: int, batch_size: int, num_workers: int = 0
    ) -> Batches:
        """Return blocks in the order of `indices`."""
        how = for_evaluation(num_workers)
        return _blocks(store, indices, size=size, batch_size=batch_size, shuffle=False, seed=0, **how)

    def inputs(self, card: TextCard, batch: Any) -> dict[str, Any]:  # noqa: ARG002 - tokens are ready
        """Return all tokens of the blocks but the last, which is only predicted."""
        return {"input_ids": batch["input_ids"][:, :-1]}

    def sample_input(self, card: TextCard, store: TokenStore, index: int) -> dict[str, Any]:
        """Return one stored block."""
        import torch

        return self.inputs(card, {"input_ids": torch.from_numpy(store.tokens(index))[None]})

    def dummy_input(self, card: TextCard) -> dict[str, Any]:
        """Return one block of the full length."""
        import torch

        return {"input_ids": torch.zeros(1, card.max_tokens, dtype=torch.int64)}

    def evaluator(self, classes: Sequence[str]) -> Evaluator:  # noqa: ARG002 - its classes are the vocabulary
        """Return how logits are read and judged."""
        from eightgig.tasks.text.generation.metrics import LanguageEvaluator

        return LanguageEvaluator()

    def targets(self, batch: Any) -> list[Any]:
        """Return the tokens that each block's tokens are followed by."""
        return list(batch["input_ids"][:, 1:].numpy())

    def dummy_batch(self, model: GeneratorModelParameters, num_samples: int) -> dict[str, Any]:
        """Return blocks of the full length, and the token after each."""
        import torch

        return {"input_ids": torch.zeros(num_samples, model.max_tokens + 1, dtype=torch.int64)}


def _blocks(store: TokenStore, indices: Iterable[int], *, size: int, batch_size: int, **options: Any) -> Batches:
    from eightgig.tasks.text.loader import token_batches

    return token_batches(
        store, list(indices), batch_size=batch_size, max_tokens=size + 1, buckets=False, pad_id=None, **options
    )


def make_writing(model: dict[str, Any], num_classes: int, precision: Precision = "fp32") -> Any:
    """Return the network, its keys and values but for the last tokens of a text, and the writing of those.

    Weights, keys and values are of `precision`, as the generate stage has them.

    The last tokens hold most, and all cost much the same; tracing every one of them would take minutes. A greedy choice
    stands for sampling: both look at one row of the vocabulary.
    """
    import torch
    from transformers import DynamicCache

    from eightgig.tasks.text.generation.precision import dtype_of
    from eightgig.tasks.text.model import build_text_network, shape_parameters
    from eightgig.vram.tracing.workload import Workload

    parameters = shape_parameters(GeneratorModelParameters(**model))
    dtype = dtype_of(precision)
    network: Any = build_text_network(parameters, "causal_lm", num_outputs=num_classes).module.to(dtype)
    config = network.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    known = max(1, parameters.max_tokens - _TRACED_TOKENS)

    def batch(num_texts: int) -> Any:
        return torch.zeros(num_texts, 1, dtype=torch.int64)

    def write(module: Any, ids_N1: Any) -> Any:
        cache = DynamicCache()
        for layer in range(config.num_hidden_layers):
            keys = torch.empty(len(ids_N1), heads, known, width, dtype=dtype)
            cache.update(keys, keys.clone(), layer)
        for _ in range(_TRACED_TOKENS):
            ids_N1 = module(input_ids=ids_N1, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
        return ids_N1

    def loss(module: Any, ids_N1: Any) -> Any:
        return module(input_ids=ids_N1, labels=ids_N1).loss

    return Workload(module=network, batch=batch, loss=loss, evaluate=write)
