"""What is particular to the sentiment classifier: its network, its batches of texts, its loss."""

from collections.abc import Iterable, Sequence
from typing import Any

from eightgig.models.cards import TextCard
from eightgig.models.parameters import TextModelParameters
from eightgig.stages.annotations import Batches, Evaluator, Objective, TextNetwork, TokenStore
from eightgig.stages.inputs import for_evaluation
from eightgig.stages.task import Records
from eightgig.tasks.text.classification.parameters import SentimentTrainParameters
from eightgig.tasks.text.parameters import TextDataParameters
from eightgig.tasks.text.task import TextTask, loading, padding_in, tokenizer_of

RECORDS: Records = {"model": TextModelParameters, "data": TextDataParameters, "train": SentimentTrainParameters}


class SentimentClassifier(TextTask):
    """The case study's answers to the stages' questions (see `eightgig.stages.task.Task`)."""

    records = RECORDS

    def num_outputs(self, store: TokenStore) -> int:
        """Return the number of classes."""
        return len(store.classes)

    def build_network(self, model: TextModelParameters, num_classes: int) -> TextNetwork:
        """Return the network with a head for the classes."""
        from eightgig.tasks.text.model import build_text_network

        return build_text_network(model, "sequence_classification", num_outputs=num_classes)

    def objective(self, network: TextNetwork, train: SentimentTrainParameters) -> Objective:  # noqa: ARG002 - one loss
        """Return cross-entropy."""
        from eightgig.tasks.text.classification.objective import SequenceObjective

        return SequenceObjective(label_smoothing=train.label_smoothing)

    def train_batches(
        self,
        store: TokenStore,
        indices: Iterable[int],
        *,
        size: int,
        batch_size: int,
        train: SentimentTrainParameters,
    ) -> Batches:
        """Return texts of about one length at a time, shuffled anew in each epoch."""
        from eightgig.tasks.text.loader import token_batches

        return token_batches(
            store,
            list(indices),
            batch_size=batch_size,
            max_tokens=size,
            buckets=train.buckets,
            pad_to=size if train.pad_to_longest else None,
            pad_id=padding_in(store.tokenizer_json),
            **loading(train),
        )

    def eval_batches(
        self, store: TokenStore, indices: Iterable[int], *, size: int, batch_size: int, num_workers: int = 0
    ) -> Batches:
        """Return texts in the order of `indices`, each batch padded to its longest."""
        from eightgig.tasks.text.loader import token_batches

        return token_batches(
            store,
            list(indices),
            batch_size=batch_size,
            max_tokens=size,
            shuffle=False,
            buckets=False,
            seed=0,
            pad_id=padding_in(store.tokenizer_json),
            **for_evaluation(num_workers),
        )

    def inputs(self, card: TextCard, batch: Any) -> dict[str, Any]:  # noqa: ARG002 - tokens are ready
        """Return tokens, and which of them are none but padding."""
        return {name: batch[name] for name in ("input_ids", "attention_mask")}

    def sample_input(self, card: TextCard, store: TokenStore, index: int) -> dict[str, Any]:  # noqa: ARG002
        """Return one stored text in tokens, from its letters."""
        return tokens_of([store.text(index)], store.tokenizer_json)

    def dummy_input(self, card: TextCard) -> dict[str, Any]:
        """Return one text of the full length."""
        import torch

        ids_NT = torch.zeros(1, card.max_tokens, dtype=torch.int64)
        return {"input_ids": ids_NT, "attention_mask": torch.ones_like(ids_NT)}

    def evaluator(self, classes: Sequence[str]) -> Evaluator:
        """Return how logits are read and judged."""
        from eightgig.bench.classification import ClassificationEvaluator

        return ClassificationEvaluator(classes)

    def dummy_batch(self, model: TextModelParameters, num_samples: int) -> dict[str, Any]:
        """Return texts of the full length, with a mask: the loader gives one, and so the kernel is another."""
        import torch

        ids_NT = torch.zeros(num_samples, model.max_tokens, dtype=torch.int64)
        labels_N = torch.zeros(num_samples, dtype=torch.int64)
        return {"input_ids": ids_NT, "attention_mask": torch.ones_like(ids_NT), "labels": labels_N}


def tokens_of(texts: Sequence[str], tokenizer_json: str) -> dict[str, Any]:
    """Return texts as the network takes them, padded to the longest: `input_ids` and `attention_mask`, int64 NT."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    encoded = tokenizer_of(tokenizer_json).encode_batch(list(texts))
    rows = [torch.tensor(one.ids, dtype=torch.int64) for one in encoded]
    ids_NT = pad_sequence(rows, batch_first=True, padding_value=padding_in(tokenizer_json))
    mask_NT = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return {"input_ids": ids_NT, "attention_mask": mask_NT}
