"""Ingest: from texts with labels to a store of tokens, its splits, and a list of what was refused."""

from pathlib import Path

from kedro.pipeline import Pipeline

from eightgig.core.progress import Report
from eightgig.models.parameters import TextModelParameters
from eightgig.stages.annotations import Table, TokenContent
from eightgig.stages.ingest import source_nodes
from eightgig.stages.task import stage_node, stage_pipeline
from eightgig.tasks.text.classification.task import RECORDS
from eightgig.tasks.text.parameters import TextDataParameters
from eightgig.tasks.text.sources import RawTexts, open_texts

_TEXTS_AT_A_TIME = 1024


def create_pipeline() -> Pipeline:
    """Return the nodes from `params:data` to `tokenizer`, `store` and `splits`."""
    stored = {"raw": "raw", "manifest": "manifest", "splits": "splits", "tokenizer": "tokenizer"}
    return stage_pipeline(
        "ingest",
        [
            *source_nodes(LabelledTexts()),
            stage_node(choose_tokenizer, {"model": "params:model"}, "tokenizer"),
            stage_node(build_store, {**stored, "data": "params:data", "model": "params:model"}, "store"),
        ],
    )


class LabelledTexts:
    """Texts with a label each."""

    records = RECORDS
    doing = "reading texts"
    tables = ()

    def source(self, data: TextDataParameters) -> RawTexts:
        """Return where the texts are that the parameters name."""
        return open_texts(data)

    def inspect(self, raw: RawTexts, data: TextDataParameters, *, report: Report, journal: Path) -> tuple[Table, Table]:
        """Return the manifest of the texts that are kept, and the others with reasons."""
        from eightgig.tasks.text.manifest import build_manifest

        return build_manifest(raw, data, report, journal=journal)

    def require_usable(self, raw: RawTexts, manifest: Table, rejects: Table, data: TextDataParameters) -> None:
        """Refuse a set of which too many texts were refused, or with too few of a class. DataError says why."""
        from eightgig.tasks.text.manifest import require_usable

        require_usable(raw, manifest, rejects, data)

    def split(self, manifest: Table, data: TextDataParameters) -> Table:
        """Return the splits, drawn in each class."""
        from eightgig.tasks.text.splits import make_text_splits

        return make_text_splits(
            manifest, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed
        )


def choose_tokenizer(model: TextModelParameters) -> str:
    """Return the network's tokenizer as the text of a `tokenizer.json`; it truncates and pads as the network needs."""
    from eightgig.tasks.text.model import read_tokenizer
    from eightgig.tasks.text.task import cutting, filling_up

    return filling_up(cutting(read_tokenizer(model), model), model)


def build_store(
    raw: RawTexts,
    manifest: Table,
    splits: Table,  # noqa: ARG001 - waits for it, so that a set which is refused replaces no store
    tokenizer: str,
    data: TextDataParameters,
    model: TextModelParameters,
) -> TokenContent:
    """Return what the store's dataset writes: the tokens of the splits' texts, and the texts themselves."""
    from eightgig.core.progress import track
    from eightgig.data.images.streaming import windows
    from eightgig.data.store.tokens import TokenContent
    from eightgig.tasks.text.manifest import read_documents
    from eightgig.tasks.text.task import tokenizer_of

    encoder = tokenizer_of(tokenizer)
    texts, tokens = [], []
    documents = track(read_documents(raw, manifest, data), "tokenizing", total=len(manifest))
    for window in windows(documents, _TEXTS_AT_A_TIME):
        texts += window
        tokens += [encoded.ids for encoded in encoder.encode_batch(window)]
    classes = tuple(sorted(manifest["class_name"].unique()))
    return TokenContent(
        tokens=tokens,
        labels=[classes.index(name) for name in manifest["class_name"]],
        texts=texts,
        num_bytes=manifest["num_bytes"].tolist(),
        paths=[
            f"{path}:{row}" if row else str(path) for path, row in zip(manifest["path"], manifest["row"], strict=True)
        ],
        classes=classes,
        tokenizer_json=tokenizer,
        vocab_size=encoder.get_vocab_size(),
        max_tokens=model.max_tokens,
    )
