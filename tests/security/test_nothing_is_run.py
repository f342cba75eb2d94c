"""Files that hold code, in the places where weights, masks, images and archives are read: nothing of it runs.

For official YOLOv5 checkpoints that is in tests/tasks/detection/test_yolov5_checkpoint.py, for state dicts in
tests/models/test_weights.py, for checkpoints of transformers in tests/tasks/text/test_model.py, for snapshots of memory
in tests/vram.
"""

import builtins
import io
import json
import os
import subprocess
import sys
import tarfile
import textwrap

import pytest
import torch
from PIL import EpsImagePlugin

from eightgig.core.errors import CheckpointError, ConfigurationError, DataError, ImageRejectedError
from eightgig.core.files import sha256_of
from eightgig.data.ingest.class_table import KNOWN_TABLES
from eightgig.data.ingest.oxford102 import unpack
from eightgig.models.parameters import TextModelParameters
from eightgig.tasks.segmentation.mask_files import read_mask
from eightgig.tasks.text.model import build_text_network, read_tokenizer
from eightgig.tiles.source import open_source
from eightgig.training.checkpointing.checkpoint import read_checkpoint


class Runs:
    """Pickles as a call."""

    def __init__(self, function, *inputs):
        self._call = function, inputs

    def __reduce__(self):
        return self._call


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


def hostile_checkpoint(path, canary):
    torch.save(
        {"model": {"w": torch.zeros(2)}, "spy": Runs(builtins.exec, f"open({str(canary)!r}, 'w').close()")}, path
    )
    return sha256_of(path.read_bytes())


def test_a_training_checkpoint_runs_nothing(tmp_path, canary):
    sha256 = hostile_checkpoint(tmp_path / "step.pt", canary)
    with pytest.raises(CheckpointError, match=r"step\.pt"):
        read_checkpoint(tmp_path / "step.pt", sha256=sha256)
    assert not canary.exists()
    torch.load(tmp_path / "step.pt", weights_only=False)
    assert canary.exists()  # so it would have been run


def test_nor_where_the_environment_switches_the_default_off(tmp_path, canary):
    sha256 = hostile_checkpoint(tmp_path / "step.pt", canary)
    script = textwrap.dedent(f"""
        from pathlib import Path
        from eightgig.core.errors import EightgigError
        from eightgig.models.weights import read_state_dict
        from eightgig.training.checkpointing.checkpoint import read_checkpoint
        path = Path({str(tmp_path / "step.pt")!r})
        for read in (read_state_dict, lambda path: read_checkpoint(path, sha256={sha256!r})):
            try:
                read(path)
            except EightgigError:
                print("refused")
        """)
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n" * 2
    assert not canary.exists()


@pytest.mark.parametrize("class_name", ["AutoConfig", "AutoTokenizer"])
def test_code_beside_a_configuration_is_not_run_nor_asked_about(tmp_path, monkeypatch, class_name):
    """transformers asks on the terminal, where nothing else is said."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": {class_name: "mine.Mine"}}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": {class_name: ["mine.Mine", None]}}))
    (tmp_path / "mine.py").write_text("raise SystemExit('this code ran')")
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("it asked"))
    parameters = TextModelParameters(name=str(tmp_path), weights="none", max_tokens=8)
    with pytest.raises(ConfigurationError):
        if class_name == "AutoConfig":
            build_text_network(parameters, "causal_lm", num_outputs=9)
        else:
            read_tokenizer(parameters.model_copy(update={"weights": "default"}))


def test_a_drawing_is_no_mask(tmp_path, monkeypatch):
    """Pillow hands PostScript to a program of the system."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("it was drawn"))
    (tmp_path / "m.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageRejectedError, match="unreadable_mask"):
        read_mask(tmp_path / "m.png", KNOWN_TABLES["voc"], max_pixels=100)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.svg", '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="secret.png"/></svg>'),
        ("a.csv", "1,2\n3,4\n"),
        ("a.mat", "2 1\n1 2\n"),
    ],
)
def test_drawings_and_tables_are_no_images(tmp_path, name, text):
    """libvips reads them; a drawing takes in other files."""
    (tmp_path / name).write_text(text)
    with (
        pytest.raises(DataError, match=rf"{name}: wanted an image, but it cannot be read"),
        open_source(tmp_path / name, max_pixels=10**6),
    ):
        pass


def archive_of(path, *entries, content=b"x"):
    with tarfile.open(path, "w:gz") as archive:
        for entry in entries:
            is_file = entry.type == tarfile.REGTYPE
            entry.size = len(content) if is_file else 0
            archive.addfile(entry, io.BytesIO(content) if is_file else None)
    return path


def entry(name, kind=tarfile.REGTYPE, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../outside")],
        [entry("a/../../outside")],
        [entry("link", tarfile.SYMTYPE, "/"), entry("link/outside")],
        [entry("link", tarfile.SYMTYPE, "..")],
        [entry("link", tarfile.LNKTYPE, "../outside")],
        [entry("device", tarfile.CHRTYPE)],
    ],
    ids=["above", "above by a detour", "through a link", "link above", "hard link above", "device"],
)
def test_an_archive_does_not_reach_out_of_its_folder(tmp_path, entries):
    archive = archive_of(tmp_path / "102flowers.tgz", *entries)
    with pytest.raises(DataError, match=r"102flowers\.tgz: cannot be unpacked"):
        unpack(archive, tmp_path / "in")
    assert not (tmp_path / "outside").exists()


def test_an_absolute_name_stays_below_the_folder(tmp_path):
    unpack(archive_of(tmp_path / "a.tgz", entry(str(tmp_path / "outside"))), tmp_path / "in")
    assert not (tmp_path / "outside").exists()
    assert [path.name for path in (tmp_path / "in").rglob("outside")] == ["outside"]


def test_an_archive_of_too_much_is_refused_before_it_is_unpacked(tmp_path):
    huge = tmp_path / "huge.tgz"
    with tarfile.open(huge, "w:gz") as archive:
        one = entry("a")
        one.size = 2**40  # the header alone: its bytes are never looked for
        archive.fileobj.write(one.tobuf())
    with pytest.raises(DataError, match=r"holds 1 files of 1024\.0 GiB, far more than the set"):
        unpack(huge, tmp_path / "in")
    many = archive_of(tmp_path / "many.tgz", *(entry(str(number)) for number in range(20_001)))
    with pytest.raises(DataError, match=r"holds 20001 files"):
        unpack(many, tmp_path / "in")
    assert not (tmp_path / "in").exists()
