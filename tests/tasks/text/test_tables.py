"""Tables of texts as programs write them: read as they are meant, or refused with the cause and the way out."""

import gzip
import json
import logging

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.stages.ingest import log_findings
from eightgig.tasks.text.manifest import build_manifest, read_documents
from eightgig.tasks.text.parameters import TextDataParameters
from eightgig.tasks.text.sources import open_texts

GOOD, BAD = ["splendid", "warm", "funny"], ["dull", "cold", "tedious"]


def read(path, **options):
    """Return (text, label) of what is kept, and what was refused."""
    data = TextDataParameters(source="auto", root=str(path), **options)
    raw = open_texts(data)
    manifest, rejects = build_manifest(raw, data)
    texts = list(read_documents(raw, manifest, data))
    return list(zip(texts, manifest["class_name"], strict=True)), rejects, raw


def write(path, content, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def sentences(number):
    return [(f"it is {(BAD, GOOD)[n % 2][n % 3]} in scene {n}", ("neg", "pos")[n % 2]) for n in range(number)]


# Quotation marks


def corpus_of_sentences(marked):
    rows = [(f'"{text}' if n == marked else f'{text}"' if n == marked + 40 else text, label) for n, (text, label) in
            enumerate(sentences(100))]  # fmt: skip
    return "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), rows


def test_a_quotation_that_goes_on_over_sentences_of_a_tsv_swallows_none(tmp_path):
    """The mark that opens in row 10 and the one that ends row 50 would quote, and make 60 texts of 100."""
    content, rows = corpus_of_sentences(10)
    found, rejects, raw = read(write(tmp_path / "t.tsv", content))
    assert found == rows
    assert rejects.empty
    assert raw.origin.endswith("(UTF-8, cells between tabs, no quoting)")


def test_a_mark_that_never_closes_in_a_tsv_means_nothing(tmp_path):
    content = "text\tlabel\n" + "".join(f"{'' if n else chr(34)}{t}\t{label}\n" for n, (t, label) in
                                        enumerate(sentences(9)))  # fmt: skip
    found, *_ = read(write(tmp_path / "t.tsv", content))
    assert len(found) == 9
    assert found[0] == ('"it is dull in scene 0', "neg")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_marks_that_close_quote(tmp_path, name):
    rows = [('he said "so", and\nwent', "pos"), ("a\ttab, a comma; and\r\nlines", "neg"), ('"all of it"', "pos")]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(
        tmp_path / name, index=False, sep="\t" if name == "t.tsv" else ","
    )
    found, rejects, _ = read(tmp_path / name)
    assert found == [(text.replace("\r\n", "\n"), label) for text, label in rows]
    assert rejects.empty


def test_a_mark_that_never_closes_in_a_csv_is_an_error_with_its_line(tmp_path):
    lines = ["text,label", *(f"{text},{label}" for text, label in sentences(30))]
    lines[12] = '"' + lines[12]
    with pytest.raises(
        DataError, match=r"t\.csv: line 13 opens a quotation mark that is not closed .*data\.quoting to"
    ):
        read(write(tmp_path / "t.csv", "\n".join(lines)))
    found, *_ = read(tmp_path / "t.csv", quoting="none")
    assert found[11] == ('"it is funny in scene 11', "pos")
    assert len(found) == 30


def test_marks_over_rows_of_a_csv_are_an_error_with_their_line(tmp_path):
    """Each line is a row by itself, with a label that others have: no text of 12 lines."""
    lines = ["text,label", *(f"{text},{label}" for text, label in sentences(30))]
    lines[12], lines[24] = '"' + lines[12], lines[24].replace(",", '",')
    with pytest.raises(DataError, match=r"line 13 opens .*over lines that are rows by themselves, of neg, pos"):
        read(write(tmp_path / "t.csv", "\n".join(lines)))


def test_marks_over_lines_that_look_like_rows_but_have_no_label_quote(tmp_path):
    content = 'text,label\n"first, second\nthird, fourth",pos\nfine,neg\n'
    found, *_ = read(write(tmp_path / "t.csv", content))
    assert found == [("first, second\nthird, fourth", "pos"), ("fine", "neg")]


@pytest.mark.parametrize("order", [("text", "label"), ("label", "text"), ("id", "text", "label")])
@pytest.mark.parametrize("sign", [",", "\t"])
def test_texts_of_several_lines_quote_in_any_order_of_columns(tmp_path, order, sign):
    rows = [
        {"id": n, "text": f"it was, so\nand on, {n}\n\nat last, pos", "label": ("neg", "pos")[n % 2]} for n in range(6)
    ]
    rows += [{"id": 9, "text": "one line, one", "label": "neg"}]
    pd.DataFrame(rows)[list(order)].to_csv(tmp_path / "t.csv", index=False, sep=sign)
    found, rejects, _ = read(tmp_path / "t.csv")
    assert found == [(row["text"], row["label"]) for row in rows]
    assert rejects.empty


def test_a_quotation_swallows_no_class_that_is_within_it_alone(tmp_path):
    rows = [(f"it is {n}", "odd" if 20 <= n < 30 else "even") for n in range(50)]
    lines = [
        f"{chr(34) if n == 15 else ''}{text}{chr(34) if n == 40 else ''}\t{label}"
        for n, (text, label) in enumerate(rows)
    ]
    lines[33] = "it holds a\ttab\teven"
    found, rejects, _ = read(write(tmp_path / "t.tsv", "\n".join(["text\tlabel", *lines])))
    assert len(found) == 49
    assert {label for _, label in found} == {"odd", "even"}
    assert rejects[["row", "reason"]].to_numpy().tolist() == [[34, "ragged"]]


def test_backslashes_before_marks_are_found(tmp_path):
    content = 'text,label\n"he said \\"so, so\\" twice",pos\n"plain, too",neg\n'
    found, _, raw = read(write(tmp_path / "t.csv", content))
    assert found == [('he said "so, so" twice', "pos"), ("plain, too", "neg")]
    assert 'quoted, with \\"' in raw.origin


# Separators and headers


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path, sign):
    rows = [(f"one, two; three | four {n}", "ab"[n % 2]) for n in range(8)]
    content = f"id{sign}text{sign}label\r\n" + "".join(f'{n}{sign}"{t}"{sign}{x}\r\n' for n, (t, x) in enumerate(rows))
    found, rejects, _ = read(write(tmp_path / "t.csv", b"\xef\xbb\xbf" + content.encode()))
    assert found == rows
    assert rejects.empty


def test_another_separator_is_asked_for(tmp_path):
    path = write(tmp_path / "t.csv", "text^label\na, b^x\nc^y\n")
    with pytest.raises(DataError, match=r"wanted the columns `text` and `label`, found one cell .*data\.separator"):
        read(path)
    assert read(path, separator="^")[0] == [("a, b", "x"), ("c", "y")]
    with pytest.raises(ConfigurationError, match=r"data\.separator: wanted one sign, or one of .*tab.*, found '::'"):
        read(path, separator="::")


def test_lines_above_the_header_are_passed_over_and_told(tmp_path, caplog):
    content = "sep=;\n# made by a program\n\nReviews of June;;\ntext;label;\ngood;1,0;\nbad;0,0;\n"
    with caplog.at_level(logging.INFO):
        found, rejects, raw = read(write(tmp_path / "t.csv", content))
    assert found == [("good", "1"), ("bad", "0")]  # decimal commas
    assert rejects.empty
    assert "4 lines above the header" in raw.origin
    assert "cells between semicolons, quoted, 4 lines above the header" in caplog.text


def test_a_table_without_header_is_read_by_numbers(tmp_path):
    path = write(tmp_path / "t.csv", "".join(f'{label},"{text}, yes"\n' for text, label in sentences(8)))
    with pytest.raises(DataError, match=r"found neg, it is dull in scene 0, yes\. .*set data\.header to false"):
        read(path)
    found, *_ = read(path, header=False, text_column=2, label_column=1)
    assert found == [(f"{text}, yes", label) for text, label in sentences(8)]


def test_two_columns_of_one_name_are_refused_and_others_do_not_matter(tmp_path):
    with pytest.raises(DataError, match=r"wanted one column `text`, found 2 of that name\. Rename all but one"):
        read(write(tmp_path / "t.csv", "text,text,label\na,b,x\n"))
    assert read(write(tmp_path / "u.csv", " text ,,label,x,x\na,1,x,2,3\nb,1,y,2,3\n"))[0] == [("a", "x"), ("b", "y")]


def test_rows_of_another_length_are_listed_and_never_cut(tmp_path):
    found, rejects, _ = read(write(tmp_path / "t.csv", "text,label\nfine,1\nno, not so,0\nshort\nlast,0,,\n\n"))
    assert found == [("fine", "1"), ("last", "0")]
    assert rejects[["row", "reason"]].to_numpy().tolist() == [[2, "ragged"], [3, "ragged"]]
    assert rejects["detail"][0].startswith("3 cells, the header has 2: put a text that holds commas")


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.json", "t.csv.gz"])
def test_marks_of_encodings_are_followed(tmp_path, name, encoding):
    rows = [("café, 書, ☃", "gut"), ("größer", "schlecht")]
    sign = "\t" if ".tsv" in name else ","
    content = f"text{sign}label\n" + "".join(f'"{text}"{sign}{label}\n' for text, label in rows)
    if "json" in name:
        objects = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
        content = "\n".join(objects) if name == "t.jsonl" else f"[{','.join(objects)}]"
    encoded = content.encode(encoding)
    write(tmp_path / name, gzip.compress(encoded) if name.endswith(".gz") else encoded)
    assert read(tmp_path / name)[0] == rows


def test_windows_western_bytes_are_told_with_the_way_out_which_works(tmp_path, caplog):
    rows = [(f"café {n} “so”", "ab"[n % 2]) for n in range(10)]
    content = "text;label\r\n" + "".join(f"{text};{label}\r\n" for text, label in rows)
    path = write(tmp_path / "t.csv", content, "cp1252")
    found, rejects, _ = read(path)
    assert found == []
    assert set(rejects["reason"]) == {"not_utf8"}
    assert "name its encoding by data.encoding (such as cp1252" in rejects["detail"][0]
    log_findings(rejects)
    assert "10 x not_utf8 (refused), first: t.csv: " in caplog.text
    assert read(path, encoding="cp1252")[0] == rows
    with pytest.raises(ConfigurationError, match=r"Python knows no encoding `ansi-western`"):
        read(path, encoding="ansi-western")


def test_utf_16_without_its_mark_is_named(tmp_path):
    path = write(tmp_path / "t.csv", "text,label\ngood,a\nbad,b\n", "utf-16-le")
    with pytest.raises(DataError, match=r"t\.csv: has a NUL in every second byte.*set data\.encoding to utf-16-le"):
        read(path)
    assert read(path, encoding="utf-16-le")[0] == [("good", "a"), ("bad", "b")]


def test_a_packed_table_that_is_cut_short_is_refused(tmp_path):
    packed = gzip.compress(("text,label\n" + "a long text,1\n" * 5000).encode())
    with pytest.raises(DataError, match=r"t\.csv\.gz: cannot be unpacked"):
        read(write(tmp_path / "t.csv.gz", packed[: len(packed) // 2]))


# What is missing


_GAPS = [None, float("nan"), "", " ", "NA", "N/A", "NaN", "nan", "None", "null", "NULL", "<NA>", "#N/A"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_what_is_missing_is_missing_in_every_kind_of_table(tmp_path, kind):
    labels = ["a", "b", *_GAPS]
    frame = pd.DataFrame({"text": [f"text {n}" for n in range(len(labels))], "label": labels}, dtype=object)
    path = written(tmp_path, frame.astype({"label": str}) if kind == "parquet" else frame, kind)
    found, rejects, _ = read(path)
    assert found == [("text 0", "a"), ("text 1", "b")]
    assert rejects["row"].tolist() == [*range(3, len(labels) + 1)]
    assert set(rejects["reason"]) == {"no_label"}
    frame["text"], frame["label"] = ["one", "two", *_GAPS], "x"
    found, rejects, _ = read(written(tmp_path, frame.astype({"text": str}) if kind == "parquet" else frame, kind))
    assert found == [("one", "x"), ("two", "x")]
    assert set(rejects["reason"]) == {"empty"}


def written(folder, frame, kind):
    path = folder / f"t.{kind}"
    match kind:
        case "csv":
            frame.to_csv(path, index=False)
        case "tsv":
            frame.to_csv(path, index=False, sep="\t")
        case "parquet":
            frame.to_parquet(path)
        case _:
            path.write_text(frame.to_json(orient="records", lines=kind == "jsonl"))
    return path


def test_a_class_called_none_is_kept_when_it_is_meant(tmp_path):
    path = write(tmp_path / "t.csv", "text,label\nfine,None\nbad,anger\nless,\n")
    found, rejects, _ = read(path)
    assert found == [("bad", "anger")]
    assert (
        rejects["detail"][0]
        == "the label is `None`, which stands for a missing value: where it is meant, set data.missing to []"
    )
    found, rejects, _ = read(path, missing=())
    assert found == [("fine", "None"), ("bad", "anger")]
    assert rejects["reason"].tolist() == ["no_label"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0.0, 1.0, None], ["0", "1"]),
        ([0, 1, 1], ["0", "1", "1"]),
        ([-1.0, 2.5, 3.0], ["-1", "2.5", "3"]),
        ([True, False, True], ["True", "False", "True"]),
        (["01", "1", "1.0"], ["01", "1", "1"]),
    ],
)
def test_a_label_has_the_name_that_a_person_expects(tmp_path, kind, labels, names):
    frame = pd.DataFrame({"text": ["one", "two", "three"], "label": labels})
    assert [label for _, label in read(written(tmp_path, frame, kind))[0]] == names


def test_categories_dates_and_bytes_of_parquet_are_what_they_stand_for(tmp_path):
    frame = pd.DataFrame({"text": ["one", "two", "three"]})
    frame["category"] = pd.Categorical(["pos", None, "neg"])
    frame["day"] = pd.to_datetime(pd.Series(["2024-01-31", None, "2024-02-01"]))
    frame["whole"] = pd.array([1, None, 0], dtype="Int64")
    frame["flag"] = pd.array([True, None, False], dtype="boolean")
    frame["bytes"] = [b"pos", None, "größer".encode()]
    frame.to_parquet(tmp_path / "t.parquet")
    expected = {
        "category": ["pos", "neg"], "day": ["2024-01-31", "2024-02-01"], "whole": ["1", "0"],
        "flag": ["True", "False"], "bytes": ["pos", "größer"],
    }  # fmt: skip
    for column, names in expected.items():
        found, rejects, _ = read(tmp_path / "t.parquet", label_column=column)
        assert [label for _, label in found] == names
        assert rejects["row"].tolist() == [2]


def test_lists_are_no_texts(tmp_path):
    parquet.write_table(pa.table({"text": [["a", "b"], ["c"]], "label": ["x", "y"]}), tmp_path / "t.parquet")
    found, rejects, _ = read(tmp_path / "t.parquet")
    assert found == []
    assert rejects["detail"][0] == "holds a list: write texts and labels as text"


# JSON


@pytest.mark.parametrize("orient", ["records", "columns", "list", "table", "split_lines"])
def test_json_is_read_as_programs_write_it(tmp_path, orient):
    frame = pd.DataFrame(sentences(6), columns=["text", "label"])
    path = tmp_path / "t.json"
    match orient:
        case "list":
            path.write_text(json.dumps({name: frame[name].tolist() for name in frame}))
        case "split_lines":
            path.write_text(frame.to_json(orient="records", lines=True))
        case _:
            path.write_text(frame.to_json(orient=orient))
    assert read(path)[0] == sentences(6)


def test_json_lines_that_are_no_objects_are_listed(tmp_path):
    content = '{"text": "a", "label": 0}\n[1]\n{"text": "b"}\n{"text": "c", "label"\n{"text": "d", "label": 1}\n'
    found, rejects, _ = read(write(tmp_path / "t.jsonl", content))
    assert found == [("a", "0"), ("d", "1")]
    assert rejects[["row", "reason"]].to_numpy().tolist() == [[2, "ragged"], [3, "no_label"], [4, "ragged"]]
    with pytest.raises(DataError, match=r"wanted a column `text`, found review, label"):
        read(write(tmp_path / "u.jsonl", '{"review": "a", "label": 0}\n'))


# Splits


@pytest.mark.parametrize("name", ["validation", "val", "valid", "dev", "Validation"])
def test_texts_in_folders_of_splits_keep_them(tmp_path, name):
    for number, split in enumerate(("train", name, "test")):
        for label in ("neg", "pos"):
            for n in range(4):
                write(tmp_path / split / label / f"{n}.txt", f"{split} {label} {n} {number}")
    assert splits_of(tmp_path) == {"train": 8, "val": 8, "test": 8}


def splits_of(root, **options):
    data = TextDataParameters(source="auto", root=str(root), **options)
    return build_manifest(open_texts(data), data)[0]["split"].value_counts().to_dict()


@pytest.mark.parametrize("names", [("train.csv", "validation.csv", "test.csv"), ("train.tsv", "dev.tsv", "test.tsv"),
                                   ("train-00000-of-00002.parquet", "validation-00000-of-00001.parquet", "test.jsonl"),
                                   ("reviews_train.csv", "reviews_val.csv.gz", "reviews_test.json")])  # fmt: skip
def test_tables_that_are_named_as_splits_are_splits(tmp_path, names):
    for part, name in enumerate(names):
        frame = pd.DataFrame([(f"{text} {part}", label) for text, label in sentences(4)], columns=["text", "label"])
        (tmp_path / "make").mkdir(exist_ok=True)
        kind = name.removesuffix(".gz").rpartition(".")[2]
        content = written(tmp_path / "make", frame, kind).read_bytes()
        write(tmp_path / "root" / name, gzip.compress(content) if name.endswith(".gz") else content)
    assert splits_of(tmp_path / "root") == {"train": 4, "val": 4, "test": 4}


def test_a_column_of_splits_is_followed(tmp_path, caplog):
    rows = [f"text {n},{'ab'[n % 2]},{('train', 'Train', 'dev', 'test')[n // 2 % 4]}" for n in range(16)]
    path = write(tmp_path / "t.csv", "\n".join(["text,label,split", *rows]))
    assert splits_of(path) == {"train": 8, "val": 4, "test": 4}
    path = write(tmp_path / "u.csv", "\n".join(["text,label,split", *rows]).replace("dev", "fold 3"))
    assert splits_of(path) == {"": 16}
    assert "its column `split` is passed over, since it holds 'fold 3' beside train, val and test" in caplog.text
    with pytest.raises(DataError, match=r"wanted train, val or test as the split of each row.*'fold 3'"):
        splits_of(path, split_column="split")


def test_texts_beside_the_splits_are_refused_by_name(tmp_path):
    for folder in ("train", "test", "extra"):
        for label in ("neg", "pos"):
            write(tmp_path / folder / label / "0.txt", f"{folder} {label}")
    with pytest.raises(
        DataError, match=r"its folders 'test', 'train' are splits, and beside them texts lie in 'extra'"
    ):
        splits_of(tmp_path)


def test_train_may_be_a_class(tmp_path):
    for label in ("train", "car"):
        for n in range(3):
            write(tmp_path / label / f"{n}.txt", f"{label} {n}")
    assert splits_of(tmp_path) == {"": 6}


def test_files_that_are_passed_over_are_told(tmp_path, caplog):
    for label in ("neg", "pos"):
        write(tmp_path / label / "0.txt", label)
        write(tmp_path / label / "1.md", label)
    write(tmp_path / "loose.txt", "none of both")
    assert splits_of(tmp_path) == {"": 2}
    assert "passed over files in the classes' folders that are no .txt: 2 with .md" in caplog.text
    assert "passed over 1 texts outside of the classes' folders" in caplog.text


def test_classes_without_a_training_text_are_told(tmp_path):
    from eightgig.tasks.text.manifest import require_usable

    for split, label in (("train", "neg"), ("train", "pos"), ("test", "neg"), ("test", "odd")):
        for n in range(4):
            write(tmp_path / split / label / f"{n}.txt", f"{split} {label} {n}")
    data = TextDataParameters(source="auto", root=str(tmp_path))
    raw = open_texts(data)
    manifest, rejects = build_manifest(raw, data)
    with pytest.raises(DataError, match=r"train has no text of 'odd': add some, or leave these classes out"):
        require_usable(raw, manifest, rejects, data)


def test_one_name_in_two_unicode_forms_is_one_class(tmp_path):
    forms = ("cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    rows = [f"text {n},{forms[n % 2]}" for n in range(6)]
    found, *_ = read(write(tmp_path / "t.csv", "\n".join(["text,label", *rows])))
    assert {label for _, label in found} == {forms[0]}


def test_texts_in_folders_are_of_the_encoding_that_they_say(tmp_path):
    for label in ("neg", "pos"):
        write(tmp_path / label / "8.txt", f"größer {label}")
        write(tmp_path / label / "16.txt", f"kleiner {label}", "utf-16")
        write(tmp_path / label / "w.txt", f"naïve {label}", "cp1252")
    found, rejects, _ = read(tmp_path)
    assert [text for text, _ in found] == ["kleiner neg", "größer neg", "kleiner pos", "größer pos"]
    assert rejects["reason"].tolist() == ["not_utf8", "not_utf8"]
    for label in ("neg", "pos"):
        (tmp_path / label / "8.txt").unlink()
    assert [text for text, _ in read(tmp_path, encoding="cp1252")[0]][:2] == ["kleiner neg", "naïve neg"]


def test_a_packed_table_with_a_wrong_byte_is_refused(tmp_path):
    """zlib has an error of its own, which is none of the system's."""
    packed = bytearray(gzip.compress(b"".join(b"text %d,%d\n" % (n, n % 2) for n in range(5000))))
    packed[len(packed) // 2] ^= 0xFF
    for place in range(20, len(packed), 97):
        damaged = bytearray(packed)
        damaged[place] ^= 0x55
        with pytest.raises(DataError, match=r"t\.csv\.gz"):
            read(write(tmp_path / "t.csv.gz", bytes(damaged)))
