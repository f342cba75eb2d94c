"""Predict: what the trained network says of new texts, as a table."""

from collections.abc import Iterator
from pathlib import Path

from kedro.pipeline import Pipeline

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import Table, TokenStore
from eightgig.stages.inference import running
from eightgig.stages.inputs import feeds_of
from eightgig.stages.samples import REJECT_COLUMNS, Rejects
from eightgig.stages.task import Task, stage_node, stage_pipeline
from eightgig.stages.trained import indices_of
from eightgig.tasks.text.classification.parameters import TextPredictParameters
from eightgig.tasks.text.classification.task import tokens_of
from eightgig.tasks.text.encodings import encoding_of
from eightgig.tasks.text.tables import is_table
from eightgig.vram.parameters import PlanParameters

_COLUMNS = ("file", "text", "class_name", "probability")
_SHOWN_LETTERS = 400
_MOST_BYTES = 10 * 2**20


def create_pipeline(task: Task) -> Pipeline:
    """Return the node from `weights` and `tokenizer` to `predict_table` and `predict_rejects_table`."""
    inputs = {
        "weights": "weights",
        "tokenizer": "tokenizer",
        "store": "store",
        "splits": "splits",
        "predict": "params:predict",
        "plan": "params:plan",
    }
    outputs = ["predict_table", "predict_rejects_table"]
    return stage_pipeline("predict", [stage_node(predict_texts, inputs, outputs, task=task)])


def predict_texts(
    task: Task,
    weights: Weights,
    tokenizer: str,
    store: TokenStore,
    splits: Table,
    predict: TextPredictParameters,
    plan: PlanParameters,
) -> tuple[Table, Table]:
    """Classify texts with the trained network, on the GPU where there is one.

    Returns:
        One row a text: file, its beginning, class, the class's probability; the files that could not be read, with
        reasons.

    Raises:
        ConfigurationError: the source does not exist.
        DataError: nothing in the source is a text.
        StoreError: the tokenizer is not the one that the network was trained with.
    """
    import pandas as pd
    import torch

    from eightgig.data.images.streaming import windows
    from eightgig.tasks.text.figures import shortened

    task.check_store(weights.card, store)
    rejects: Rejects = []
    rows: list[tuple[str, str, str, float]] = []
    with running(task, weights, plan) as runner:
        for batch in windows(_texts(predict, store, splits, rejects), predict.batch_size):
            outputs = runner.run(feeds_of(tokens_of([text for _, text in batch], tokenizer)))
            (logits_NK,) = map(torch.from_numpy, outputs.values())
            likeliest = logits_NK.softmax(1).max(1)
            for (file, text), probability, index in zip(batch, *map(torch.Tensor.tolist, likeliest), strict=True):
                shown = shortened(text, _SHOWN_LETTERS)
                rows.append((file, shown, weights.card.classes[index], round(probability, 6)))
    if not rows:
        raise DataError(
            f"predict.source: none of {len(rejects)} files of {predict.source} can be read as a text "
            f"({'; '.join(f'{Path(file).name}: {reason}' for file, reason, _ in rejects[:3])})."
        )
    return pd.DataFrame(rows, columns=list(_COLUMNS)), pd.DataFrame(rejects, columns=list(REJECT_COLUMNS))


def _texts(
    predict: TextPredictParameters, store: TokenStore, splits: Table, rejects: Rejects
) -> Iterator[tuple[str, str]]:
    if predict.text is not None:
        yield "predict.text", predict.text
    elif predict.source is not None:
        yield from _files(Path(predict.source).expanduser(), rejects)
    else:
        indices = indices_of(splits, "test")
        for index in indices[:: max(1, len(indices) // predict.num_samples)][: predict.num_samples]:
            yield store.paths[index], store.text(index)


def _files(source: Path, rejects: Rejects) -> Iterator[tuple[str, str]]:
    if not source.exists():
        raise ConfigurationError(
            f"predict.source: {source} does not exist. Name a text file or a folder of text files, give a text as "
            "predict.text, or leave both null to see a few held-out texts."
        )
    for path in sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]:
        if path.stat().st_size > _MOST_BYTES:
            rejects.append((str(path), "too_large", f"{path.stat().st_size} bytes, at most {_MOST_BYTES}"))
            continue
        if is_table(path):  # its letters, separators and all, would be taken for one text
            rejects.append((str(path), "table", "texts are wanted, one a file; write each row's text into one"))
            continue
        try:
            content = path.read_bytes()
            text = content.decode(encoding_of(content)).strip()
        except (UnicodeDecodeError, OSError, DataError) as error:
            rejects.append((str(path), "unreadable", str(error)))
            continue
        if text:
            yield str(path), text
        else:
            rejects.append((str(path), "empty", "no letters"))
