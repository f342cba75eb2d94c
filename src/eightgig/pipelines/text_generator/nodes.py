"""What is particular to the text generator: its network, its blocks of text, its loss."""

from collections.abc import Iterable, Sequence
from typing import Any

from eightgig.datasets.weights import TextCard
from eightgig.pipelines.text_generator.parameters import RECORDS, GeneratorModelParameters
from eightgig.stages.annotations import Batches, Objective, Task, TextNetwork, TokenStore
from eightgig.stages.text import TextCase, loading
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import Precision


class TextGenerator(TextCase):
    """The case study's answers to the stages' questions (see `eightgig.stages.case.Case`)."""

    records = RECORDS

    def num_outputs(self, store: TokenStore) -> int:
        """Give the size of the vocabulary."""
        return store.vocab_size

    def build_network(self, model: GeneratorModelParameters, num_classes: int) -> TextNetwork:
        """Give the language model, with trainable matrices beside frozen weights where LoRA is asked for."""
        from dataclasses import replace

        from eightgig.models.text_networks import build_text_network

        network = build_text_network(model, "causal_lm", num_outputs=num_classes)
        lora = getattr(model, "lora", None)  # a blank network of a card has none
        if lora is None:
            return network
        from eightgig.models.lora import add_lora

        return replace(network, module=add_lora(network.module, lora))

    def finished(self, network: TextNetwork, state: dict[str, Any]) -> dict[str, Any]:
        """Give the weights with LoRA's matrices added to them, so that nothing behind need know of them."""
        if getattr(network.parameters, "lora", None) is None:
            return state
        from eightgig.models.lora import merge_lora

        network.module.cpu().load_state_dict(state)
        return dict(merge_lora(network.module).state_dict())

    def objective(self, network: TextNetwork, train: TrainParameters) -> Objective:  # noqa: ARG002 - one loss
        """Give the cross-entropy of the next token."""
        from eightgig.training.language import CausalObjective

        return CausalObjective()

    def train_batches(
        self, store: TokenStore, indices: Iterable[int], *, size: int, batch_size: int, train: TrainParameters
    ) -> Batches:
        """Give blocks of text, shuffled anew in each epoch."""
        return _blocks(store, indices, size=size, batch_size=batch_size, **loading(train))

    def eval_batches(self, store: TokenStore, indices: Iterable[int], *, size: int, batch_size: int) -> Batches:
        """Give blocks in the order of `indices`."""
        return _blocks(store, indices, size=size, batch_size=batch_size, shuffle=False, seed=0)

    def inputs(self, card: TextCard, batch: Any) -> dict[str, Any]:  # noqa: ARG002 - tokens are ready
        """Give all tokens of the blocks but the last, which is only predicted."""
        return {"input_ids": batch["input_ids"][:, :-1]}

    def one_input(self, card: TextCard, store: TokenStore, index: int) -> dict[str, Any]:
        """Give one stored block."""
        import torch

        return self.inputs(card, {"input_ids": torch.from_numpy(store.tokens(index))[None]})

    def example(self, card: TextCard) -> dict[str, Any]:
        """Give one block of the full length."""
        import torch

        return {"input_ids": torch.zeros(1, card.max_tokens, dtype=torch.int64)}

    def task(self, classes: Sequence[str]) -> Task:  # noqa: ARG002 - its classes are the vocabulary
        """Give how logits are read and judged."""
        from eightgig.bench.language import LanguageTask

        return LanguageTask()

    def truths(self, batch: Any) -> list[Any]:
        """Give the tokens that each block's tokens are followed by."""
        return list(batch["input_ids"][:, 1:].numpy())


def _blocks(store: TokenStore, indices: Iterable[int], *, size: int, batch_size: int, **options: Any) -> Batches:
    from eightgig.data.text.loader import token_batches

    return token_batches(
        store, list(indices), batch_size=batch_size, max_tokens=size + 1, buckets=False, pad_id=None, **options
    )


def make_workload(
    model: dict[str, Any],
    train: dict[str, Any],
    num_classes: int,
    shapes: dict[str, list[int]] | None = None,
    teacher: str | None = None,
    precision: Precision = "fp32",
) -> Any:
    """Give the network, its loss and empty batches, as the train stage runs them; weights play no part."""
    import torch

    from eightgig.models.text_networks import shape_parameters
    from eightgig.stages.workloads import case_workload

    parameters = shape_parameters(GeneratorModelParameters(**model))

    def batch(num_blocks: int) -> dict[str, Any]:
        return {"input_ids": torch.zeros(num_blocks, parameters.max_tokens + 1, dtype=torch.int64)}

    return case_workload(
        TextGenerator(),
        parameters,
        TrainParameters(**train),
        num_classes,
        batch=batch,
        shapes={name: tuple(shape) for name, shape in (shapes or {}).items()},
        teacher=teacher,
        precision=precision,
    )
