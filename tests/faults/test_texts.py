"""Row 19 of the fault table: texts that are none."""

import pytest

from eightgig.core.errors import DataError
from eightgig.tasks.text.manifest import build_corpus_manifest, build_manifest, read_documents, require_usable
from eightgig.tasks.text.parameters import CorpusDataParameters, TextDataParameters
from eightgig.tasks.text.sources import open_corpus, open_texts

pytestmark = pytest.mark.whole

BAD = {"latin.txt": b"caf\xe9 is no UTF-8", "nul.txt": b"ab\0c"}
WIDE = "wide".encode("utf-16")  # with its mark


def write(root, content):
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_row_19_non_utf_8_bom_and_nul_in_folders_of_texts(tmp_path):
    good = {f"{name}/{number}.txt": f"{name} {number}".encode() for name in ("neg", "pos") for number in range(20)}
    good["pos/mark.txt"], good["pos/wide.txt"] = b"\xef\xbb\xbfwith a mark", WIDE
    root = write(tmp_path, {**good, **{f"neg/{name}": data for name, data in BAD.items()}})
    data = TextDataParameters(root=str(root), source="folders", max_reject_fraction=0.1)
    raw = open_texts(data)
    manifest, rejects = build_manifest(raw, data)

    found = {row.file: (str(row.reason), str(row.detail)) for row in rejects.itertuples()}
    assert found.keys() == {"neg/latin.txt", "neg/nul.txt"}
    reason, detail = found["neg/latin.txt"]
    assert reason == "not_utf8"
    assert detail.startswith("byte 0xe9 at offset 3: save it as UTF-8, or name its encoding by data.encoding")
    assert found["neg/nul.txt"][0] == "nul"
    assert "offset 2" in found["neg/nul.txt"][1]
    texts = dict(zip(manifest["path"], read_documents(raw, manifest, data), strict=True))
    assert (texts["pos/mark.txt"], texts["pos/wide.txt"]) == ("with a mark", "wide")
    require_usable(raw, manifest, rejects, data)
    with pytest.raises(
        DataError, match=r"2 of 44 texts cannot be used \(1 not_utf8, 1 nul\); at most 4% may be refused"
    ):
        require_usable(raw, manifest, rejects, data.model_copy(update={"max_reject_fraction": 0.04}))


def test_row_19_non_utf_8_bom_and_nul_in_a_corpus(tmp_path):
    good = {f"{number}.txt": b"\xef\xbb\xbf" + f"text {number}".encode() for number in range(4)}
    data = CorpusDataParameters(root=str(write(tmp_path, {**good, **BAD, "wide.txt": WIDE})), source="files")
    raw = open_corpus(data)
    manifest, rejects = build_corpus_manifest(raw, data)
    assert dict(zip(rejects["file"], rejects["reason"], strict=True)) == {
        "latin.txt": "not_utf8",
        "nul.txt": "nul",
    }
    assert list(read_documents(raw, manifest, data)) == [*(f"text {number}" for number in range(4)), "wide"]
