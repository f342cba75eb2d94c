"""The list of all usable texts, and of all others with the reason."""

import hashlib
import logging
from collections.abc import Iterator

import pandas as pd

from eightgig.core.errors import DataError, StoreError
from eightgig.core.names import all_quoted, composed, name_key
from eightgig.core.progress import Report
from eightgig.core.seeding import seed_from
from eightgig.data.ingest.manifest import printable
from eightgig.data.ingest.split_names import split_of
from eightgig.data.ingest.splits import given_splits
from eightgig.tasks.text.encodings import ENCODING_HINT, UTF8, encoding_of
from eightgig.tasks.text.parameters import CorpusDataParameters, TextDataParameters
from eightgig.tasks.text.rows import TextRow, rows_of
from eightgig.tasks.text.sources import RawTexts

logger = logging.getLogger(__name__)
MANIFEST_COLUMNS = ("path", "row", "class_name", "split", "num_bytes", "content_hash")
REJECT_COLUMNS = ("file", "row", "reason", "detail")
_FEWEST_OF_A_CLASS = 3
_FEWEST_DOCUMENTS = 3
_MOST_NAMES = 8
Refusal = tuple[str, str]
"""Reason and detail."""


def build_manifest(
    raw: RawTexts, data: TextDataParameters, report: Report | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every text with a label once, one after the other.

    Returns:
        The manifest, a row a text: `path`, `row` of a table, `class_name`, `split` where the set brings one,
        `num_bytes`, `content_hash`; and the refused ones: `file`, `row`, `reason`, `detail`. Reasons: `too_large`,
        `not_utf8`, `nul`, `empty`, `no_label`, `no_text`, `ragged`, `unreadable`, `duplicate`, `conflicting_label`.

    Raises:
        DataError: the set is not laid out as it should be.
    """
    kept, refused = _inspect(raw, data, report)
    kept = _with_one_form(kept)
    kept["split"] = _known_splits(raw, kept, data)
    kept, conflicts = _split_off_conflicts(kept)
    kept, copies = _split_off_copies(kept)
    rejects = pd.concat([refused, conflicts, copies], ignore_index=True)
    _tell(raw, kept, rejects)
    if data.num_documents is not None:
        kept = _share(kept, data.num_documents, data.seed)
    return kept.reset_index(drop=True), rejects


def build_corpus_manifest(
    raw: RawTexts, data: CorpusDataParameters, report: Report | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every document once; as `build_manifest`, without classes."""
    kept, refused = _inspect(raw, data, report)
    kept, copies = _split_off_copies(kept)
    rejects = pd.concat([refused, copies], ignore_index=True)
    _tell(raw, kept, rejects)
    if data.num_documents is not None:
        kept = _share(kept, data.num_documents, data.seed)
    return kept.reset_index(drop=True), rejects


def require_usable(
    raw: RawTexts, manifest: pd.DataFrame, rejects: pd.DataFrame, data: TextDataParameters | CorpusDataParameters
) -> None:
    """Refuse a set of which too much was refused, or too little is left. DataError tells all that is wrong at once."""
    problems = list(_problems(manifest, rejects, data))
    if problems:
        first = "; ".join(f"{row.file}:{row.row} ({row.reason}: {row.detail})" for row in rejects.head(3).itertuples())
        raise DataError(f"{raw.root}: {'; '.join(problems)}.{f' Refused first: {first}.' if first else ''}")


def read_documents(
    raw: RawTexts, manifest: pd.DataFrame, data: TextDataParameters | CorpusDataParameters
) -> Iterator[str]:
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
    raw: RawTexts, data: TextDataParameters | CorpusDataParameters, report: Report | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the usable and the refused texts, by columns: rows as objects would take several times more memory."""
    accepted: dict[str, list[object]] = {name: [] for name in MANIFEST_COLUMNS}
    refused: dict[str, list[object]] = {name: [] for name in REJECT_COLUMNS}
    for number, row in enumerate(rows_of(raw, data), start=1):
        found = _inspected(row, data)
        table = accepted if len(found) == len(MANIFEST_COLUMNS) else refused
        for values, value in zip(table.values(), found, strict=True):
            values.append(value)
        if report:
            report(number, None)
    names = {"class_name": "object", "split": "object", "row": "int64"}  # an empty column has no type of its own
    return pd.DataFrame(accepted).astype(names), pd.DataFrame(refused).astype({"row": "int64"})


def _inspected(row: TextRow, data: TextDataParameters | CorpusDataParameters) -> tuple[object, ...]:
    if row.refusal is not None:
        return printable(row.path), row.row, row.refusal[0], printable(row.refusal[1])
    if row.content is None:
        detail = f"{row.size:,} bytes, at most {data.max_document_bytes:,}: raise data.max_document_bytes, or cut it"
        return printable(row.path), row.row, "too_large", detail
    text, refusal = _decoded(row, data)
    if refusal is None:
        refusal = _refusal_of_names(row, has_label=isinstance(data, TextDataParameters))
    if refusal is not None or text is None:
        return printable(row.path), row.row, *(refusal or ("empty", ""))
    return row.path, row.row, row.class_name, row.split, len(text.encode()), _hash_of(text)


def _refusal_of_names(row: TextRow, *, has_label: bool) -> Refusal | None:
    if has_label and not row.class_name:
        return "no_label", "the label is empty"
    for what, name in (("label", row.class_name), ("split", row.split), ("file's name", row.path)):
        if printable(name) != name:
            return "not_utf8", f"the {what} is {printable(name)[:80]}: write it in UTF-8"
        if "\0" in name:
            return "nul", f"a NUL byte in the {what}"
    return None


def _decoded(row: TextRow, data: TextDataParameters | CorpusDataParameters) -> tuple[str | None, Refusal | None]:
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


def _tell(raw: RawTexts, kept: pd.DataFrame, rejects: pd.DataFrame) -> None:
    """Say how much is left, what was refused, and which classes may be one."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in rejects["reason"].value_counts().items())
    if reasons:
        logger.warning(
            "%s: %d texts are kept, %d are not (%s); each is listed with its reason in rejects.csv",
            raw.root, len(kept), len(rejects), reasons,
        )  # fmt: skip
    keys: dict[str, list[str]] = {}
    for name in kept["class_name"].unique():
        keys.setdefault(name_key(name), []).append(name)
    for alike in keys.values():
        if len(alike) > 1:
            logger.warning("%s: classes that differ in case alone: %s", raw.root, all_quoted(alike))


def _split_off_conflicts(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate texts that have more than one label."""
    labels = manifest.groupby("content_hash")["class_name"]
    in_conflict = labels.transform("nunique").gt(1) if len(manifest) else pd.Series(dtype=bool)
    return manifest[~in_conflict], _refused(manifest[in_conflict], "conflicting_label", "the same text has two labels")


def _split_off_copies(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate copies of a text, in favour of the one in the split that judges, so that no test text was learnt."""
    rank = manifest["split"].map({"test": 0, "val": 1}).fillna(2)
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


def _problems(
    manifest: pd.DataFrame, rejects: pd.DataFrame, data: TextDataParameters | CorpusDataParameters
) -> Iterator[str]:
    total = len(manifest) + len(rejects)
    wrong = rejects[rejects["reason"] != "duplicate"]  # a copy harms nothing, once it is left out
    if len(wrong) > data.max_reject_fraction * total:
        reasons = ", ".join(f"{count} {reason}" for reason, count in wrong["reason"].value_counts().items())
        yield (
            f"{len(wrong)} of {total} texts cannot be used ({reasons}), at most {data.max_reject_fraction:.0%} may be: "
            "repair them, or raise data.max_reject_fraction"
        )
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
