"""What was inspected before a kill is not opened again; what changed since is."""

import json

import pytest

from eightgig.core.errors import DataError, ImageRejectedError, StoreError
from eightgig.data.images import decoding as images
from eightgig.data.images.decoding import inspect_image
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest, require_usable
from eightgig.data.store.atomic import exclusive


@pytest.fixture
def photos(make_folders):
    root = make_folders(daisy=50, rose=50)
    (root / "rose" / "7.jpg").write_bytes(b"no image")
    return root


@pytest.fixture
def opened(monkeypatch):
    """Return the names of the files that are opened."""
    names = []

    def counting(path, **options):
        names.append(path.name if path.parent.name == "daisy" else f"rose {path.name}")
        return inspect_image(path, **options)

    monkeypatch.setattr("eightgig.data.ingest.manifest.inspect_image", counting)
    return names


def build(photos, tmp_path, **options):
    parameters = DataParameters(root=str(photos), **options)
    return build_manifest(scan_class_folders(photos), parameters, journal=tmp_path / "journal" / "inspected.jsonl")


def test_a_second_run_opens_nothing(photos, tmp_path, opened):
    first = build(photos, tmp_path)
    assert len(opened) == 100
    opened.clear()
    second = build(photos, tmp_path)
    assert opened == []
    for one, other in zip(first, second, strict=True):
        assert one.equals(other)
    assert second[1]["reason"].tolist() == ["not_an_image"]


@pytest.mark.parametrize("cut", [1, 40, 2000])
def test_a_journal_that_was_cut_short_is_gone_on_with(photos, tmp_path, opened, cut):
    whole = build(photos, tmp_path)
    journal = tmp_path / "journal" / "inspected.jsonl"
    content = journal.read_bytes()
    journal.write_bytes(content[:-cut])
    opened.clear()
    again = build(photos, tmp_path)
    num_lost = content.count(b"\n") - content[:-cut].count(b"\n")
    assert len(opened) == num_lost
    assert again[0].equals(whole[0])
    assert journal.read_bytes() == content


def test_what_changed_is_opened_again(photos, tmp_path, opened, encode, smooth_pixels):
    build(photos, tmp_path)
    opened.clear()
    (photos / "rose" / "7.jpg").write_bytes(encode(smooth_pixels(999, 40, 50)))
    manifest, rejects = build(photos, tmp_path)
    assert opened == ["rose 7.jpg"]
    assert (len(manifest), len(rejects)) == (100, 0)
    opened.clear()
    build(photos, tmp_path, min_side=20)  # another rule
    assert len(opened) == 100


@pytest.mark.parametrize("damage", [b"", b"x" * 50, b"[1]\n", b'["a", "b"]\n{}\n', bytes(range(256))])
def test_a_damaged_journal_begins_anew(photos, tmp_path, opened, damage):
    build(photos, tmp_path)
    journal = tmp_path / "journal" / "inspected.jsonl"
    content = journal.read_bytes()
    opened.clear()
    journal.write_bytes(damage)
    build(photos, tmp_path)
    assert len(opened) == 100
    assert journal.read_bytes() == content


@pytest.mark.parametrize("wrong", [["jpeg"], ["jpeg", "wide", 40, 900, "a", ""], []])
def test_a_damaged_line_costs_one_file(photos, tmp_path, opened, wrong):
    whole = build(photos, tmp_path)
    journal = tmp_path / "journal" / "inspected.jsonl"
    header, first, rest = journal.read_bytes().split(b"\n", 2)
    line = json.dumps([*json.loads(first)[:3], *wrong]).encode()
    journal.write_bytes(b"\n".join([header, line, rest]))
    opened.clear()
    assert build(photos, tmp_path)[0].equals(whole[0])
    build(photos, tmp_path)
    assert opened == ["0.jpg"]


@pytest.mark.parametrize("line", [b"[" * 50_000, b'{"a":' * 50_000, b'["\\ud800", 1, 2, "empty", ""]'])
def test_a_line_that_is_nested_deeply_or_names_no_file(photos, tmp_path, line):
    whole = build(photos, tmp_path)
    journal = tmp_path / "journal" / "inspected.jsonl"
    header, first, rest = journal.read_bytes().split(b"\n", 2)
    journal.write_bytes(b"\n".join([header, first, line, rest]))
    assert build(photos, tmp_path)[0].equals(whole[0])


def test_what_is_new_is_opened_and_what_is_gone_is_forgotten(photos, tmp_path, opened, encode, smooth_pixels):
    build(photos, tmp_path)
    opened.clear()
    (photos / "daisy" / "00.jpg").write_bytes(encode(smooth_pixels(999, 40, 50)))
    (photos / "daisy" / "1.jpg").unlink()
    manifest, _ = build(photos, tmp_path)
    assert opened == ["00.jpg"]
    assert manifest["path"].tolist()[:3] == ["daisy/0.jpg", "daisy/00.jpg", "daisy/10.jpg"]


def test_what_could_not_be_read_is_tried_again(photos, tmp_path, monkeypatch):
    read, broken = images._read, photos / "daisy" / "3.jpg"

    def failing(path, max_pixels):
        if path == broken:
            raise ImageRejectedError("unreadable", "Input/output error")
        return read(path, max_pixels)

    monkeypatch.setattr(images, "_read", failing)
    assert build(photos, tmp_path)[1]["reason"].tolist() == ["unreadable", "not_an_image"]
    monkeypatch.undo()
    assert build(photos, tmp_path)[1]["reason"].tolist() == ["not_an_image"]


def test_a_change_during_the_inspection_shows_next_time(photos, tmp_path, monkeypatch, encode, smooth_pixels):
    changing = photos / "daisy" / "3.jpg"

    def changed_at_once(path, **options):
        found = inspect_image(path, **options)
        if path == changing:
            path.write_bytes(encode(smooth_pixels(998, 60, 70)))
        return found

    monkeypatch.setattr("eightgig.data.ingest.manifest.inspect_image", changed_at_once)
    assert set(build(photos, tmp_path)[0]["height"]) == {40}
    monkeypatch.undo()
    assert set(build(photos, tmp_path)[0]["height"]) == {40, 60}


def test_two_writers_of_one_journal_are_told_apart(photos, tmp_path):
    journal = tmp_path / "journal" / "inspected.jsonl"
    with exclusive(journal), pytest.raises(StoreError, match="wanted to write it, but another process is writing it"):
        build(photos, tmp_path)


def test_copies_in_two_ready_made_splits_stay_where_they_judge(tmp_path, encode, smooth_pixels):
    for number, name in enumerate(["train/a/1", "train/a/2", "train/b/3", "train/b/4", "val/a/5", "val/b/6"]):
        path = tmp_path / "set" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(smooth_pixels(number, 40, 50)))
    (tmp_path / "set" / "train" / "a" / "copy.jpg").write_bytes((tmp_path / "set" / "val" / "a" / "5.jpg").read_bytes())
    manifest, rejects = build(tmp_path / "set", tmp_path)
    assert len(manifest) == 6
    assert [tuple(row) for row in rejects[["path", "reason", "detail"]].itertuples(index=False)] == [
        ("train/a/copy.jpg", "in_two_splits", "the same image is in val")
    ]
    parameters = DataParameters(root=str(tmp_path / "set"), max_reject_fraction=1.0)
    require_usable(tmp_path / "set", manifest, rejects, parameters)
    only_val = manifest[(manifest["class_name"] == "a") | (manifest["split"] == "val")]
    with pytest.raises(DataError, match="different usable images in train, but 'b' has none"):
        require_usable(tmp_path / "set", only_val, rejects, parameters)
