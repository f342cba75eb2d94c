"""Tables and folders of texts, and tokenizers."""

import gzip
import json
from pathlib import Path
from typing import Any

from tests.fuzz.edits import byte_edits, either, json_edits, text_edits
from tests.fuzz.harness import Reader
from tests.fuzz.readers.images import put

_ROWS = [("text", "label", "note")] + [(f"a review, number {n}", f"class {n % 2}", '"x"') for n in range(8)]


_MORE = "".join(f"more of it {n},{'ab'[n % 2]}\n" for n in range(6))


def _delimited(sign: str) -> str:
    return "".join(sign.join(f'"{cell}"' if sign in cell else cell for cell in row) + "\n" for row in _ROWS)


def _write_tables(folder: Path) -> None:
    put(folder / "0" / "t.csv", _delimited(","))
    put(folder / "1" / "t.tsv", _delimited("\t"))
    put(folder / "2" / "t.csv", '\ufefftext,label\n"two\nlines",a\n"a ""quoted"" one",b\n' + _MORE)
    put(folder / "3" / "t.csv", "sep=;\n# a comment\n\n" + _delimited(";"))
    put(folder / "4" / "t.csv", 'text,label,split\n"it is \\"so\\"",a,train\n' + _MORE.replace("\n", ",train\n"))
    put(folder / "5" / "t.tsv", "text\tlabel\n" + "".join(f'"so {n}\t{"ab"[n % 2]}\n' for n in range(8)))


def _rows_as_objects() -> list[dict[str, object]]:
    return [{"text": f"a review, number {n}", "label": None if n == 7 else n % 2, "more": [n]} for n in range(8)]


def _write_json(folder: Path) -> None:
    rows = _rows_as_objects()
    put(folder / "0" / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    put(folder / "1" / "t.json", json.dumps(rows))
    put(
        folder / "2" / "t.json",
        json.dumps({name: {str(n): row[name] for n, row in enumerate(rows)} for name in rows[0]}),
    )
    put(folder / "3" / "t.json", json.dumps({"data": rows}))


def _write_encoded(folder: Path) -> None:
    for seed, encoding in enumerate(("utf-16", "utf-32")):
        (folder / str(seed)).mkdir(parents=True)
        (folder / str(seed) / "t.csv").write_bytes(("text,label\n" + _MORE.replace(",", "é,")).encode(encoding))
    (folder / "2").mkdir()
    (folder / "2" / "t.csv.gz").write_bytes(gzip.compress(_delimited(",").encode(), mtime=0))
    (folder / "3").mkdir()
    (folder / "3" / "t.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(row) + "\n" for row in _rows_as_objects()).encode(), mtime=0)
    )


def _write_parquet(folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = {name: [row[place] for row in _ROWS[1:]] for place, name in enumerate(_ROWS[0])}
    for seed, codec in (("0", "none"), ("1", "snappy"), ("2", "zstd")):
        (folder / seed).mkdir(parents=True)
        parquet.write_table(pyarrow.table(columns), folder / seed / "t.parquet", compression=codec)
    numbers = pyarrow.table({"text": [*range(7)], "label": [True, True, True, None, False, False, False]})
    (folder / "3").mkdir()
    parquet.write_table(numbers, folder / "3" / "t.parquet", use_dictionary=False)


def _read_table(folder: Path) -> None:
    from eightgig.tasks.text.manifest import build_manifest, read_documents, require_usable
    from eightgig.tasks.text.parameters import TextDataParameters
    from eightgig.tasks.text.sources import open_texts

    (path,) = folder.glob("t.*")
    data = TextDataParameters(source="auto", root=str(path), max_document_bytes=10_000, max_reject_fraction=0.9)
    raw = open_texts(data)
    manifest, rejects = build_manifest(raw, data)
    rejects.to_csv(folder / "rejects.csv")
    list(read_documents(raw, manifest, data))
    require_usable(raw, manifest, rejects, data)


def _write_folders(folder: Path) -> None:
    for split in ("train", "test"):
        for name in ("neg", "pos"):
            for number in range(4):
                put(folder / "0" / split / name / f"{number}.txt", f"{split} {name} {number}: fünf Sterne\r\n")


def _read_folders(folder: Path) -> None:
    _read_texts(folder, 0.9)


def _read_texts(folder: Path, most: float) -> None:
    from eightgig.tasks.text.manifest import build_manifest, read_documents, require_usable
    from eightgig.tasks.text.parameters import TextDataParameters
    from eightgig.tasks.text.sources import open_texts

    data = TextDataParameters(source="folders", root=str(folder), max_document_bytes=10_000, max_reject_fraction=most)
    raw = open_texts(data)
    manifest, rejects = build_manifest(raw, data)
    list(read_documents(raw, manifest, data))
    require_usable(raw, manifest, rejects, data)


def _write_corpus(folder: Path) -> None:
    for number in range(4):
        put(folder / "0" / f"{number}.txt", f"Chapter {number}. " + "It was so, and so it stays. " * 5)


def _read_corpus(folder: Path) -> None:
    from eightgig.tasks.text.manifest import build_corpus_manifest, read_documents, require_usable
    from eightgig.tasks.text.parameters import CorpusDataParameters
    from eightgig.tasks.text.sources import open_corpus

    data = CorpusDataParameters(source="files", root=str(folder), max_reject_fraction=0.9)
    raw = open_corpus(data)
    manifest, rejects = build_corpus_manifest(raw, data)
    list(read_documents(raw, manifest, data))
    require_usable(raw, manifest, rejects, data)


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    from eightgig.data.store.tokenizers import train_bpe

    put(folder / "0" / "tokenizer.json", train_bpe(["a small text, and another"], vocab_size=262))
    unknown = "[UNK]"
    words = Tokenizer(models.WordPiece({unknown: 0, "[SEP]": 1, "a": 2, "text": 3}, unk_token=unknown))
    words.normalizer, words.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words.add_special_tokens(["[SEP]"])
    put(folder / "1" / "tokenizer.json", words.to_str())


def _read_tokenizer(folder: Path) -> None:
    from eightgig.data.store.tokenizers import parse_tokenizer
    from eightgig.models.parameters import TextModelParameters
    from eightgig.tasks.text.model import read_tokenizer
    from eightgig.tasks.text.task import cutting, tokenizer_of

    parameters = TextModelParameters(tokenizer=str(folder / "tokenizer.json"), max_tokens=8)
    text = read_tokenizer(parameters)
    parse_tokenizer(text)
    encoder: Any = tokenizer_of(cutting(text, parameters))
    encoder.encode_batch(["a small text", "", "ünknown ☃"])


READERS = [
    Reader("texts.table", _write_tables, _read_table, {"*": text_edits}),
    Reader("texts.json", _write_json, _read_table, {"*.jsonl": text_edits, "*": either(json_edits, text_edits)}),
    Reader("texts.encoded", _write_encoded, _read_table, {"*": byte_edits}),
    Reader("texts.parquet", _write_parquet, _read_table),
    Reader("texts.folders", _write_folders, _read_folders, {"train/neg/0.txt": text_edits}),
    Reader("texts.corpus", _write_corpus, _read_corpus, {"0.txt": either(text_edits, byte_edits)}),
    Reader("texts.tokenizer", _write_tokenizer, _read_tokenizer, {"*": either(json_edits, json_edits, text_edits)}),
]
