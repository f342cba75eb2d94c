"""Ingest: from texts to blocks of tokens in a store, split by document."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline

from eightgig.core.progress import Report
from eightgig.stages.annotations import Table, TokenContent
from eightgig.stages.ingest import source_nodes
from eightgig.stages.task import stage_node, stage_pipeline
from eightgig.tasks.text.generation.parameters import GeneratorModelParameters, TokenizerParameters
from eightgig.tasks.text.generation.task import RECORDS
from eightgig.tasks.text.parameters import CorpusDataParameters
from eightgig.tasks.text.sources import RawTexts, open_corpus

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPLITS = ("train", "val", "test")


def create_pipeline() -> Pipeline:
    """Return the nodes from `params:data` to `tokenizer`, `store` and `splits`."""
    documents = {"raw": "raw", "manifest": "manifest", "document_splits": "document_splits", "data": "params:data"}
    return stage_pipeline(
        "ingest",
        [
            *source_nodes(PlainTexts(), splits="document_splits", split_name="split_documents"),
            stage_node(
                choose_tokenizer, {**documents, "model": "params:model", "parameters": "params:tokenizer"}, "tokenizer"
            ),
            stage_node(pack, {**documents, "tokenizer": "tokenizer", "model": "params:model"}, ["store", "splits"]),
        ],
    )


class PlainTexts:
    """Documents without labels."""

    records = RECORDS
    doing = "reading texts"
    tables = ()

    def source(self, data: CorpusDataParameters) -> RawTexts:
        """Return where the texts are that the parameters name."""
        return open_corpus(data)

    def inspect(
        self, raw: RawTexts, data: CorpusDataParameters, *, report: Report, journal: Path
    ) -> tuple[Table, Table]:
        """Return the manifest of the documents that are kept, and the others with reasons."""
        from eightgig.tasks.text.manifest import build_corpus_manifest

        return build_corpus_manifest(raw, data, report, journal=journal)

    def require_usable(self, raw: RawTexts, manifest: Table, rejects: Table, data: CorpusDataParameters) -> None:
        """Refuse a set of which too many documents were refused, or of fewer than three. DataError says why."""
        from eightgig.tasks.text.manifest import require_usable

        require_usable(raw, manifest, rejects, data)

    def split(self, manifest: Table, data: CorpusDataParameters) -> Table:
        """Return the splits of documents, each whole in one of them."""
        from eightgig.tasks.text.splits import make_document_splits

        return make_document_splits(
            manifest, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed
        )


def choose_tokenizer(
    raw: RawTexts,
    manifest: Table,
    document_splits: Table,
    data: CorpusDataParameters,
    model: GeneratorModelParameters,
    parameters: TokenizerParameters,
) -> str:
    """Return the network's tokenizer, or a byte-level BPE trained on the training documents where it has none."""
    from eightgig.data.store.tokenizers import train_bpe
    from eightgig.tasks.text.model import read_tokenizer

    if model.tokenizer or model.weights != "none":
        return read_tokenizer(model)
    texts = (text for split, text in _documents(raw, manifest, document_splits, data) if split == "train")
    return train_bpe(texts, vocab_size=parameters.vocab_size)


def pack(
    raw: RawTexts,
    manifest: Table,
    document_splits: Table,
    data: CorpusDataParameters,
    tokenizer: str,
    model: GeneratorModelParameters,
) -> tuple[TokenContent, Table]:
    """Return the store's blocks of `max_tokens` + 1 tokens, and which split each is in.

    Each token of a split but its first is predicted once; what is left of a split's last block is dropped.
    """
    import pandas as pd

    from eightgig.core.progress import track
    from eightgig.data.store.tokenizers import byte_lengths, separator_of
    from eightgig.data.store.tokens import TokenContent
    from eightgig.tasks.text.packing import pack_blocks
    from eightgig.tasks.text.task import end_of_text, tokenizer_of

    encoder = tokenizer_of(tokenizer)
    lengths, separator = byte_lengths(encoder), separator_of(encoder, end_of_text(model))
    tokens: dict[str, list[Any]] = {split: [] for split in _SPLITS}
    paths: dict[str, list[str]] = {split: [] for split in _SPLITS}
    documents = track(_documents(raw, manifest, document_splits, data), "tokenizing", total=len(manifest))
    for (split, text), path in zip(documents, manifest["path"], strict=True):
        tokens[split].append(encoder.encode(text, add_special_tokens=False).ids)
        paths[split].append(str(path))
    packed = {
        split: pack_blocks(tokens[split], block_size=model.max_tokens, separator_id=separator) for split in _SPLITS
    }
    blocks = [block for split in _SPLITS for block in packed[split].blocks]
    content = TokenContent(
        tokens=blocks,
        labels=None,
        texts=None,
        num_bytes=[int(lengths[block[1:]].sum()) for block in blocks],
        paths=[paths[split][document] for split in _SPLITS for document in packed[split].documents],
        classes=(),
        tokenizer_json=tokenizer,
        vocab_size=encoder.get_vocab_size(),
        max_tokens=model.max_tokens,
    )
    names = [split for split in _SPLITS for _ in packed[split].blocks]
    return content, pd.DataFrame({"index": range(len(names)), "split": names})


def _documents(
    raw: RawTexts, manifest: Table, document_splits: Table, data: CorpusDataParameters
) -> "Iterator[tuple[str, str]]":
    from eightgig.tasks.text.manifest import read_documents

    by_index = document_splits.set_index("index")["split"]
    splits = [by_index[index] for index in range(len(manifest))]
    yield from zip(splits, read_documents(raw, manifest, data), strict=True)
