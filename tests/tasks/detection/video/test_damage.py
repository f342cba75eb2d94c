"""What could be decoded is kept, and what is lost is told: never in silence."""

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import DataError
from eightgig.tasks.detection.video.wholeness import what_is_missing

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
# Containers that say where they end. (Raw streams do not.)
KINDS: dict[str, dict[str, Any]] = {
    "a.mkv": {},
    "live.webm": {"codec": "libvpx", "options": {"live": "1"}},
    "fragmented.mp4": {"options": FRAGMENTS},
    "index_first.mp4": {"options": {"movflags": "faststart"}},
    "a.avi": {},
    "a.gif": {"codec": "gif", "pixels": "gray"},
    "a.apng": {"codec": "apng", "pixels": "rgb24"},
    "a.ogv": {"codec": "libvpx", "kind": "ogg"},
    "a.flv": {"codec": "flv"},
    "a.ivf": {"codec": "libvpx", "kind": "ivf"},
    "a.mjpeg": {"codec": "mjpeg", "pixels": "yuvj420p", "kind": "mjpeg"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any, film: Any) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {name: film(folder / name, 24, **kind) for name, kind in KINDS.items()}


def is_told(notes: tuple[str, ...]) -> bool:
    return any(word in note for note in notes for word in ("cut off", "missing", "damaged"))


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_file_lacks_nothing(name: str, whole: dict[str, Path], seen: Any) -> None:
    found = seen(whole[name])
    assert what_is_missing(whole[name]) is None
    assert len(found.frames) == 24
    assert not is_told(found.notes)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(name=st.sampled_from(sorted(KINDS)), part=st.floats(0.02, 0.999))
def test_of_a_cut_file_what_is_there_is_kept_and_the_rest_is_told(
    name: str, part: float, whole: dict[str, Path], seen: Any, levels: Any
) -> None:
    content = whole[name].read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / name
        cut.write_bytes(content[: min(len(content) - 1, int(len(content) * part))])
        try:
            found = seen(cut)
        except DataError as error:
            assert name in str(error)
            return
    assert is_told(found.notes)
    wanted = levels(24)[: len(found.frames)]
    assert np.abs(np.array(found.levels[:-1]) - wanted[:-1]).max(initial=0) <= 8  # the last one may be half a frame
    assert len(found.frames) >= 24 * part - 8 or name in {"a.ogv", "a.avi"}  # a second in one page; half of it head


def test_it_says_where_it_ends(whole: dict[str, Path], seen: Any, tmp_path: Path) -> None:
    content = whole["a.mkv"].read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: len(content) // 2])
    found = seen(tmp_path / "a.mkv")
    end_s = len(found.frames) / 25
    assert found.end_s == pytest.approx(end_s, abs=1e-3)
    (note,) = found.notes
    assert note.startswith(
        f"It ends at {end_s:.2f} s, after {len(found.frames)} frames, and was cut off or damaged there"
    )
    assert "bytes shorter than it says" in note
    assert "it claims to last until 0.96 s" in note
    assert note.endswith("Copy or record it once more if more is wanted.")


def test_a_recording_without_its_index_says_so(film: Any, seen: Any, tmp_path: Path) -> None:
    content = film(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: content.index(b"moov") - 4])
    with pytest.raises(
        DataError, match=r"cut\.mp4: .* its index \(`moov`\), which is written last, is not there\. It was cut"
    ):
        seen(tmp_path / "cut.mp4")
    (tmp_path / "cut.mp4").write_bytes(content[: content.index(b"moov") + 60])
    with pytest.raises(DataError, match=r"he file is [\d,]+ bytes shorter than it says"):
        seen(tmp_path / "cut.mp4")


def test_an_empty_file_says_so(seen: Any, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.mp4: wanted a video, .*: it is empty\. Copy or record it once more"):
        seen(tmp_path / "a.mp4")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["a.mp4", "a.mkv", "a.avi", "a.webm", "a.ts", "h264.ts"]),
    at=st.floats(0.1, 0.95),
    seed=st.integers(0, 2**32),
)
def test_damage_in_the_middle_is_told_unless_every_frame_is_right(
    name: str, at: float, seed: int, damaged: dict[str, Path], seen: Any, levels: Any
) -> None:
    content = bytearray(damaged[name].read_bytes())
    begun, count = int(len(content) * at), len(content) // 40
    content[begun : begun + count] = random.Random(seed).randbytes(count)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        try:
            found = seen(Path(folder) / name)
        except DataError as error:
            assert name in str(error)
            return
    is_right = len(found.frames) == 24 and np.abs(np.array(found.levels) - levels(24)).max() <= 8
    assert is_right or is_told(found.notes)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: Any, film: Any) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("damaged")
    kinds = {"a.webm": {"codec": "libvpx-vp9"}, "a.ts": {"codec": "mpeg2video"}, "h264.ts": {"codec": "libx264"}}
    names = ["a.mp4", "a.mkv", "a.avi", *kinds]
    return {name: film(folder / name, 24, **kinds.get(name, {})) for name in names}


def test_what_begins_in_the_middle_of_a_recording_says_so(film: Any, seen: Any, tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.ts", 60, codec="libx264", codec_options={"g": "20", "keyint_min": "20", "bf": "0"})
    packets = whole.read_bytes()
    (tmp_path / "part.ts").write_bytes(packets[188 * round(len(packets) / 188 * 0.45) :])
    found = seen(tmp_path / "part.ts")
    assert 15 <= len(found.frames) <= 40
    assert any("it was cut from the middle of a recording" in note for note in found.notes)


def test_one_frame_and_many_are_said_rightly(film: Any, seen: Any, tmp_path: Path) -> None:
    content = film(tmp_path / "a.h264", 1, codec="libx264", kind="h264").read_bytes()
    (tmp_path / "a.h264").write_bytes(content)
    assert seen(tmp_path / "a.h264").notes == ("1 frame has no time: counted on at 25 a second.",)
