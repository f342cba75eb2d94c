"""Ingest: from texts to blocks of tokens in a store, split by document."""

from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline

from eightgig.core.progress import progress
from eightgig.stages.annotations import Table, TokenContent
from eightgig.stages.task import stage_node, stage_pipeline
from eightgig.tasks.text.generation.parameters import GeneratorModelParameters, TokenizerParameters
from eightgig.tasks.text.parameters import CorpusDataParameters
from eightgig.tasks.text.sources import RawTexts, open_corpus

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPLITS = ("train", "val", "test")


def create_pipeline() -> Pipeline:
    """Return the nodes from `params:data` to `tokenizer`, `store` and `splits`."""
    documents = {"raw": "raw", "manifest": "manifest", "document_splits": "document_splits", "data": "params:data"}
    listed = {"raw": "raw", "manifest": "manifest", "rejects": "rejects", "data": "params:data"}
    return stage_pipeline(
        "ingest",
        [
            stage_node(collect, {"data": "params:data"}, "raw"),
            stage_node(inspect, {"raw": "raw", "data": "params:data"}, ["manifest", "rejects"]),
            stage_node(split_documents, listed, "document_splits"),
            stage_node(
                choose_tokenizer, {**documents, "model": "params:model", "parameters": "params:tokenizer"}, "tokenizer"
            ),
            stage_node(pack, {**documents, "tokenizer": "tokenizer", "model": "params:model"}, ["store", "splits"]),
        ],
    )


def collect(data: CorpusDataParameters) -> RawTexts:
    """Return where the texts are that the parameters name."""
    return open_corpus(data)


def inspect(raw: RawTexts, data: CorpusDataParameters) -> tuple[Table, Table]:
    """Read every document once; give the manifest of those that are kept, and the others with reasons."""
    from eightgig.tasks.text.manifest import build_corpus_manifest

    with progress("reading texts") as report:
        return build_corpus_manifest(raw, data, report)


def split_documents(raw: RawTexts, manifest: Table, rejects: Table, data: CorpusDataParameters) -> Table:
    """Divide the documents into train, val and test, each whole in one of them.

    Raises:
        DataError: too many documents were refused, or there are fewer than three.
    """
    from eightgig.tasks.text.manifest import require_usable
    from eightgig.tasks.text.splits import make_document_splits

    require_usable(raw, manifest, rejects, data)
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
