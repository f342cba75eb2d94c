"""The list of all usable texts, and of all others with the reason."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from eightgig.core.errors import DataError, StoreError
from eightgig.core.names import alike_but_for_case, all_quoted, composed
from eightgig.core.progress import Report
from eightgig.core.seeding import seed_from
from eightgig.data.ingest.findings import Finding, findings_table, printable, too_many_refused
from eightgig.data.ingest.inspection import RowReader, RowRecord, inspect
from eightgig.data.ingest.split_names import split_of
from eightgig.data.ingest.splits import contradicting, given_splits, judging_split
from eightgig.tasks.text.encodings import ENCODING_HINT, UTF8, encoding_of
from eightgig.tasks.text.parameters import CorpusDataParameters, TextDataParameters
from eightgig.tasks.text.rows import TextFile, TextRow, folder_of, rows_of, text_files
from eightgig.tasks.text.sources import RawTexts

logger = logging.getLogger(__name__)
MANIFEST_COLUMNS = ("path", "row", "class_name", "split", "num_bytes", "content_hash")
REJECT_COLUMNS = ("file", "row", "reason", "detail")
_FEWEST_OF_A_CLASS = 3
_FEWEST_DOCUMENTS = 3
_MOST_NAMES = 8
# Of the parameters, these decide what becomes of texts that were read; all others may decide how they are read.
_OF_WHAT_WAS_READ = {"val_fraction", "test_fraction", "seed", "max_reject_fraction", "num_documents"}
Data = TextDataParameters | CorpusDataParameters
Refusal = tuple[str, str]
"""Reason and detail."""


class InspectedText(RowRecord):
    """What was read of a text.

    Attributes:
        row: of a table, from 1; 0 where the file is the text.
        class_name: by the table.
        split: likewise.
        num_bytes: of the text in UTF-8.
        content_hash: equal for equal texts.
    """

    row: int
    class_name: str = ""
    split: str = ""
    num_bytes: int = 0
    content_hash: str = ""


def build_manifest(
    raw: RawTexts, data: TextDataParameters, report: Report | None = None, *, journal: Path | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every text with a label once, one after the other.

    Args:
        raw: where they are.
        data: what is refused.
        report: told how many are done.
        journal: as of `eightgig.data.ingest.inspection.inspect`.

    Returns:
        The manifest, a row a text: `path`, `row` of a table, `class_name`, `split` where the set brings one,
        `num_bytes`, `content_hash`; and the refused ones: `file`, `row`, `reason`, `detail`. Reasons: `too_large`,
        `not_utf8`, `nul`, `empty`, `no_label`, `no_text`, `ragged`, `unreadable`, `duplicate`, `conflicting_label`.

    Raises:
        DataError: the set is not laid out as it should be.
    """
    kept, refused = _inspect(raw, data, report, journal)
    kept = _with_one_form(kept)
    kept["split"] = _known_splits(raw, kept, data)
    kept, conflicts = _split_off_conflicts(kept)
    return _without_copies(raw, kept, [refused, conflicts], data)


def build_corpus_manifest(
    raw: RawTexts, data: CorpusDataParameters, report: Report | None = None, *, journal: Path | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every document once; as `build_manifest`, without classes."""
    kept, refused = _inspect(raw, data, report, journal)
    return _without_copies(raw, kept, [refused], data)


def require_usable(raw: RawTexts, manifest: pd.DataFrame, rejects: pd.DataFrame, data: Data) -> None:
    """Refuse a set of which too much was refused, or too little is left. DataError tells all that is wrong at once."""
    problems = list(_problems(manifest, rejects, data))
    if problems:
        first = "; ".join(f"{row.file}:{row.row} ({row.reason}: {row.detail})" for row in rejects.head(3).itertuples())
        raise DataError(f"{raw.root}: {'; '.join(problems)}.{f' Refused first: {first}.' if first else ''}")


def read_documents(raw: RawTexts, manifest: pd.DataFrame, data: Data) -> Iterator[str]:
    """Yield the manifest's texts in its order.

    Raises:
        StoreError: a text changed since it was listed.
    """
    wanted = zip(manifest["path"], manifest["row"], manifest["content_hash"], strict=True)
    place = next(wanted, None)
    for found in rows_of(raw, data):
        if place is None:
            return
        path, row, content_hash = place
        if (found.path, found.row) != (path, row):
            continue
        text = None if found.content is None else _decoded(found, data)[0]
        if text is None or _hash_of(text) != content_hash:
            raise StoreError(
                f"{raw.root}: {path}{f', row {row}' if row else ''} changed since it was listed. Ingest again."
            )
        yield text
        place = next(wanted, None)
    if place is not None:
        raise StoreError(f"{raw.root}: {place[0]} is not there any more. Ingest again.")


def _inspect(
    raw: RawTexts, data: Data, report: Report | None, journal: Path | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the usable and the refused texts."""

    def check(file: TextFile, found: InspectedText) -> Iterator[Mapping[str, object] | Finding]:
        return _check(file, found, has_label=isinstance(data, TextDataParameters))

    kept, findings = inspect(_reader(raw, data), check, MANIFEST_COLUMNS, journal=journal, report=report)
    refused = findings_table(findings, ("path", "line", "reason", "detail"))
    refused.columns = pd.Index(REJECT_COLUMNS)
    names = {"class_name": "object", "split": "object", "row": "int64"}  # an empty column has no type of its own
    return kept.astype(names), refused.astype({"row": "int64"})


def _reader(raw: RawTexts, data: Data) -> RowReader[TextFile, TextRow, InspectedText]:
    return RowReader(
        root=folder_of(raw),
        entries=lambda: text_files(raw, data),
        file=lambda file: file.path,
        rows=lambda file: file.rows(),
        read=lambda row: _read(row, data),
        record=InspectedText,
        recipe=f"{raw!r} {data.model_dump(exclude=_OF_WHAT_WAS_READ)!r}",
    )


def _read(row: TextRow, data: Data) -> InspectedText:
    refusal = row.refusal
    if refusal is None and row.content is None:
        detail = f"{row.size:,} bytes, at most {data.max_document_bytes:,}: raise data.max_document_bytes, or cut it"
        refusal = "too_large", detail
    text = None
    if refusal is None:
        text, refusal = _decoded(row, data)
    if refusal is not None or text is None:
        reason, detail = refusal or ("empty", "")
        return InspectedText(row=row.row, reason=reason, detail=detail)
    return InspectedText(
        row=row.row,
        class_name=row.class_name,
        split=row.split,
        num_bytes=len(text.encode()),
        content_hash=_hash_of(text),
    )


def _check(file: TextFile, found: InspectedText, *, has_label: bool) -> Iterator[Mapping[str, object] | Finding]:
    """Judge by the file's label where it has one: after a kill, folders may be called otherwise."""
    class_name, split = file.class_name or found.class_name, file.split or found.split
    refusal = (found.reason, found.detail) if found.reason else None
    if refusal is None:
        refusal = _refusal_of_names(class_name, split, file.path, has_label=has_label)
    if refusal is not None:
        yield Finding(file.path, *refusal, line=found.row)
    else:
        yield {**dict(found), "path": file.path, "class_name": class_name, "split": split}


def _refusal_of_names(class_name: str, split: str, path: str, *, has_label: bool) -> Refusal | None:
    if has_label and not class_name:
        return "no_label", "the label is empty"
    for what, name in (("label", class_name), ("split", split), ("file's name", path)):
        if printable(name) != name:
            return "not_utf8", f"the {what} is {printable(name)[:80]}: write it in UTF-8"
        if "\0" in name:
            return "nul", f"a NUL byte in the {what}"
    return None


def _decoded(row: TextRow, data: Data) -> tuple[str | None, Refusal | None]:
    """Return the text without a byte order mark, or why it is none; cells of tables are UTF-8 by now."""
    content = row.content or b""
    try:
        text = content.decode(UTF8 if row.row else encoding_of(content, data.encoding))
    except UnicodeDecodeError as error:
        if not error.encoding.startswith("utf-8"):
            return None, ("not_utf8", f"no {error.encoding} ({error.reason} at offset {error.start}): {ENCODING_HINT}")
        return None, ("not_utf8", f"byte {content[error.start]:#04x} at offset {error.start}: {ENCODING_HINT}")
    except DataError as error:
        return None, ("not_utf8", str(error))
    if "\0" in text:
        return None, ("nul", f"a NUL byte at offset {content.index(0)}: is it a text?")
    text = text.replace("\r\n", "\n").strip()
    return (text, None) if text else (None, ("empty", "no letters"))


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _with_one_form(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the classes one name each where an accent is stored in two ways: the one that comes first."""
    forms: dict[str, str] = {}
    for name in manifest["class_name"]:
        forms.setdefault(composed(name), name)
    return manifest.assign(
        class_name=pd.Series([forms[composed(name)] for name in manifest["class_name"]], dtype=object)
    )


def _known_splits(raw: RawTexts, manifest: pd.DataFrame, data: TextDataParameters) -> "pd.Series[str]":
    """Return the splits by this project's names.

    Raises:
        DataError: the column that was asked for holds other words, or no row is for training.
    """
    found = manifest["split"].astype(object)
    names = {name: split_of(name) for name in found.unique()}
    others = [name for name, split in names.items() if split is None]
    if not names or ([*names] == [""] and data.split_column is None):
        return found
    if others and data.split_column is None:
        logger.warning(
            "%s: its column `split` is passed over, since it holds %s beside train, val and test: splits are drawn",
            raw.root, all_quoted(others[:_MOST_NAMES]),
        )  # fmt: skip
        return pd.Series("", index=found.index, dtype=object)
    if others or "train" not in names.values():
        held = all_quoted(list(names)[:_MOST_NAMES])
        raise DataError(
            f"{raw.root}: wanted train, val or test as the split of each row, train among them, found {held}. Mend the "
            "column, or name another by data.split_column."
        )
    return found.map(names)


def _without_copies(
    raw: RawTexts, kept: pd.DataFrame, refused: list[pd.DataFrame], data: Data
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the manifest without copies, of it the share that is wanted, and all that was refused."""
    kept, copies = _split_off_copies(kept)
    for alike in alike_but_for_case(kept["class_name"].unique()):
        logger.warning("%s: classes that differ in case alone: %s", raw.root, all_quoted(alike))
    if data.num_documents is not None:
        kept = _share(kept, data.num_documents, data.seed)
    return kept.reset_index(drop=True), pd.concat([*refused, copies], ignore_index=True)


def _split_off_conflicts(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate texts that have more than one label."""
    in_conflict = contradicting(manifest, "class_name")
    return manifest[~in_conflict], _refused(manifest[in_conflict], "conflicting_label", "the same text has two labels")


def _split_off_copies(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate copies of a text, in favour of the one in the split that judges, so that no test text was learnt."""
    rank = judging_split(manifest)["own"]
    kept = ~manifest.loc[rank.sort_values(kind="stable").index].duplicated("content_hash").reindex(manifest.index)
    return manifest[kept], _refused(manifest[~kept], "duplicate", "the same text stands elsewhere")


def _refused(rows: pd.DataFrame, reason: str, detail: str) -> pd.DataFrame:
    columns = {"file": rows["path"], "row": rows["row"]}
    return pd.DataFrame(columns).assign(reason=reason, detail=detail)[list(REJECT_COLUMNS)]


def _share(manifest: pd.DataFrame, wanted: int, seed: int) -> pd.DataFrame:
    """Return as many texts of each class, drawn by their content, in the manifest's order."""
    drawn = manifest.assign(_draw=[seed_from(seed, "share", content) for content in manifest["content_hash"]])
    place = drawn.groupby("class_name")["_draw"].rank(method="first")
    return manifest[place <= wanted // max(1, manifest["class_name"].nunique())]


def _problems(manifest: pd.DataFrame, rejects: pd.DataFrame, data: Data) -> Iterator[str]:
    wrong = rejects[rejects["reason"] != "duplicate"]  # a copy harms nothing, once it is left out
    num_harmless = len(rejects) - len(wrong)
    if problem := too_many_refused("texts", len(manifest) + num_harmless, wrong, data.max_reject_fraction):
        yield f"{problem}: repair them, or raise data.max_reject_fraction"
    if isinstance(data, CorpusDataParameters):
        if len(manifest) < _FEWEST_DOCUMENTS:
            yield (
                f"wanted {_FEWEST_DOCUMENTS} documents or more, found {len(manifest)}: one each is held out for "
                "validation and test. Cut a long text into files"
            )
        return
    counts = manifest["class_name"].value_counts()
    if len(counts) < 2:
        yield f"wanted two classes or more, found {', '.join(counts.index) or 'none'}"
    few = [f"{name} ({count})" for name, count in counts.items() if count < _FEWEST_OF_A_CLASS]
    if few:
        more = f" and {len(few) - _MOST_NAMES} more" if len(few) > _MOST_NAMES else ""
        yield (
            f"wanted {_FEWEST_OF_A_CLASS} texts or more of each class, found fewer of "
            f"{', '.join(few[:_MOST_NAMES])}{more}: add texts, or leave these classes out"
        )
    yield from _untrained(manifest)


def _untrained(manifest: pd.DataFrame) -> Iterator[str]:
    """Tell classes that ready-made splits have no training text of: nothing could be learnt of them."""
    splits = given_splits(manifest)
    if any(splits):
        trained = set(manifest["class_name"][splits == "train"])
        if lacking := sorted(set(manifest["class_name"]) - trained):
            yield f"train has no text of {all_quoted(lacking[:_MOST_NAMES])}: add some, or leave these classes out"
