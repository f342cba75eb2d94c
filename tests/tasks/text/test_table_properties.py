"""Any text and label comes back from a table as it was written, whatever separates, quotes and encodes it."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import DataError
from eightgig.tasks.text.manifest import build_manifest, read_documents
from eightgig.tasks.text.parameters import MISSING, TextDataParameters
from eightgig.tasks.text.sources import open_texts

FEW = settings(max_examples=20, deadline=None)
# All signs that tables are made of, and letters of several scripts; no NUL and no half pairs, which are refused.
_SIGNS = st.sampled_from([*"ab é書☃אΩ😀\u0301,;|\t\"'\\=#<>&:.0", "\n", "\r\n", '""', '",'])
_TEXTS = st.lists(_SIGNS, min_size=1, max_size=12).map("".join).map(lambda t: f"x{t}x")
_LABELS = st.sampled_from(["pos", "neg", "中文", "عربي", "<b>", 'a"b', "café, noir", "😀", "001"])
_ROWS = st.lists(
    st.tuples(_TEXTS, _LABELS), min_size=3, max_size=10, unique_by=lambda row: row[0].replace("\r\n", "\n")
)


def read(path, **options):
    data = TextDataParameters(source="auto", root=str(path), max_reject_fraction=1, **options)
    raw = open_texts(data)
    manifest, rejects = build_manifest(raw, data)
    return list(zip(read_documents(raw, manifest, data), manifest["class_name"], strict=True)), rejects


def delimited(rows, sign, quoting):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=sign, quoting=quoting, lineterminator="\n").writerows([("text", "label"), *rows])
    return file.getvalue()


@FEW
@given(
    rows=_ROWS,
    sign=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_what_csv_writes_is_read_whole(rows, sign, quoting, encoding):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(delimited(rows, sign, quoting).encode(encoding))
        found, rejects = read(path)
    assert found == [(text.replace("\r\n", "\n"), label) for text, label in rows]
    assert rejects.empty


@FEW
@given(rows=st.lists(st.tuples(st.text('ab "', min_size=1, max_size=8).map(lambda t: f"{t}."), st.sampled_from("xy")),
                     min_size=2, max_size=12, unique_by=lambda row: row[0].strip()))  # fmt: skip
def test_lines_of_a_table_without_quoting_are_never_joined(rows):
    """Whatever marks are in a TSV of one line a text, no text is lost: it is read with its marks, or without them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.tsv"
        path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
        found, rejects = read(path)
    together = {text for text, _ in found}
    assert all("\n" not in text and "\t" not in text for text in together)
    assert len(found) + len(rejects) == len(rows)
    assert all(text.strip().replace('"', "") in {f.replace('"', "") for f in together} | {""} for text, _ in rows
               if text.strip() in together)  # fmt: skip


@FEW
@given(rows=_ROWS, opened=st.integers(0, 9), sign=st.sampled_from(",;|"))
def test_a_mark_that_opens_a_cell_of_a_csv_and_never_closes_is_an_error(rows, opened, sign):
    lines = [f"plain {n}{sign}pos" for n in range(10)]
    lines[opened] = '"' + lines[opened]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text("\n".join([f"text{sign}label", *lines]))
        try:
            read(path)
        except DataError as error:
            assert f"line {opened + 2} opens a quotation mark" in str(error)
        else:
            raise AssertionError("it was read")


@FEW
@given(gaps=st.lists(st.sampled_from([None, float("nan"), *MISSING]), min_size=1, max_size=5),
       kind=st.sampled_from(["csv", "tsv", "json", "jsonl", "parquet"]))  # fmt: skip
def test_no_gap_is_ever_a_class(gaps, kind):
    labels = ["yes", "no", *gaps]
    frame = pd.DataFrame({"text": [f"text {n}" for n in range(len(labels))], "label": labels}, dtype=object)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"t.{kind}"
        if kind == "parquet":
            frame.to_parquet(path)
        elif kind in ("csv", "tsv"):
            frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
        else:
            path.write_text(json.dumps(frame.to_dict("records")) if kind == "json" else
                            "\n".join(map(json.dumps, frame.to_dict("records"))))  # fmt: skip
        found, rejects = read(path)
    assert found == [("text 0", "yes"), ("text 1", "no")]
    assert rejects["row"].tolist() == list(range(3, len(labels) + 1))
    assert set(rejects["reason"]) == {"no_label"}


@FEW
@given(
    text=st.text(
        st.characters(codec="cp1252", exclude_characters="\0\r\n", exclude_categories=("Cc", "Zs")), min_size=1
    )
)
def test_an_encoding_that_is_asked_for_is_taken(text):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(delimited([(f"x{text}x", "a"), ("other", "b")], ";", csv.QUOTE_ALL).encode("cp1252"))
        found, _ = read(path, encoding="cp1252", missing=())
    assert found == [(f"x{text}x", "a"), ("other", "b")]
