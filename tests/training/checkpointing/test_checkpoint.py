"""Checkpoints: whole ones only, the newest that is sound, and never another run's."""

import json
import re
import resource
import subprocess
import sys
import textwrap

import pytest
import torch
from tests.present import present

from eightgig.core.errors import CheckpointError
from eightgig.training.checkpointing import checkpoint as module
from eightgig.training.checkpointing.checkpoint import MANIFEST, Checkpoints, read_checkpoint
from eightgig.training.checkpointing.recipe import Recipe
from eightgig.training.checkpointing.resume import find_checkpoint

RECIPE = Recipe(values={"train.learning_rate": "0.1"}, circumstances={"torch": "2"})
OTHER = Recipe(values={"train.learning_rate": "0.2"}, circumstances={"torch": "2"})


def state(number, *, finished=False):
    return {"finished": finished, "number": number, "tensor": torch.full((1000,), float(number)), "rows": [{"a": 1.5}]}


@pytest.fixture
def kept(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", RECIPE)


def test_the_newest_comes_back_as_it_was_and_two_are_kept(kept):
    for step in (1, 2, 3):
        kept.save(state(step), step=step)
    found = kept.newest()
    assert (found.step, found.state["number"], found.state["rows"]) == (3, 3, [{"a": 1.5}])
    assert torch.equal(found.state["tensor"], torch.full((1000,), 3.0))
    assert sorted(path.name for path in kept.folder.glob("*.pt")) == ["step-00000002.pt", "step-00000003.pt"]
    kept.save(state(4), step=4, keep=1)
    assert [path.name for path in kept.folder.glob("*.pt")] == ["step-00000004.pt"]


def test_there_may_be_none(kept):
    assert kept.newest() is None
    assert find_checkpoint(kept, "auto") is None
    with pytest.raises(CheckpointError, match=r"train.resume is must, and there is no checkpoint"):
        find_checkpoint(kept, "must")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_one_is_told_of_and_the_one_before_it_is_taken(kept, damage, caplog):
    kept.save(state(1), step=1)
    newest = kept.save(state(2), step=2)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"flip": bytes(content), "cut": bytes(content[:-100]), "empty": b""}
    newest.unlink() if damage == "gone" else newest.write_bytes(damaged[damage])
    assert kept.newest().step == 1
    assert f"{newest}" in caplog.text
    assert "The checkpoint before it is taken" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b'{"recipe": 1}', b"\xff\xfe", b"[]"])
def test_a_damaged_list_is_told_of(kept, content, caplog):
    kept.save(state(1), step=1)
    (kept.folder / MANIFEST).write_bytes(content)
    assert kept.newest() is None
    assert "there is nothing to go on from" in caplog.text


@pytest.mark.parametrize("point", ["in torch.save", "before replace", "after replace", "in the list", "after the list"])
def test_a_kill_in_a_write_leaves_the_checkpoint_before_it_or_the_new_one(kept, point):
    kept.save(state(1), step=1)
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        import torch
        from eightgig.training.checkpointing import checkpoint
        from eightgig.training.checkpointing.recipe import Recipe
        def die(*_, **__):
            os.kill(os.getpid(), signal.SIGKILL)
        point, replaced, replace = {point!r}, [], Path.replace
        def watched(self, target):
            if point == ["before replace", "in the list"][len(replaced) % 2]:
                die()
            replace(self, target)
            replaced.append(target)
            if point == ["after replace", "after the list"][len(replaced) - 1]:
                die()
        Path.replace = watched
        if point == "in torch.save":
            def half(state, path):
                Path(path).write_bytes(b"half")
                die()
            torch.save = half
        recipe = Recipe.model_validate_json({RECIPE.model_dump_json()!r})
        kept = checkpoint.Checkpoints(Path({str(kept.folder)!r}), recipe)
        kept.save({{"finished": False, "number": 2, "tensor": torch.zeros(10)}}, step=2)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert kept.newest().state["number"] == (2 if point == "after the list" else 1)
    kept.save(state(3), step=3)  # and what was left behind is cleared away
    assert kept.newest().step == 3
    assert len(list(kept.folder.iterdir())) <= 3


def test_a_full_disk_is_seen_before_anything_is_written(kept, monkeypatch):
    kept.save(state(1), step=1)
    before = sorted(path.name for path in kept.folder.iterdir())
    monkeypatch.setattr(module, "space_shortage", lambda *_: "only 10 bytes (10 B) are free there")
    with pytest.raises(CheckpointError, match=r"step-00000002.pt: a checkpoint needs \d+ bytes .* only 10 bytes"):
        kept.save(state(2), step=2)
    assert sorted(path.name for path in kept.folder.iterdir()) == before
    assert kept.newest().step == 1


def test_a_disk_that_fills_up_in_the_write_leaves_the_one_before(tmp_path):
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        import torch
        from eightgig.core.errors import CheckpointError
        from eightgig.training.checkpointing import checkpoint
        from eightgig.training.checkpointing.recipe import Recipe
        kept = checkpoint.Checkpoints(Path(sys.argv[1]), Recipe(values={}, circumstances={}))
        kept.save({"finished": False, "number": 1}, step=1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        checkpoint.space_shortage = lambda path, size: None  # another program takes the space after the look
        try:
            kept.save({"finished": False, "number": 2, "tensor": torch.zeros(100_000)}, step=2)
        except CheckpointError as error:
            print(error)
        print(kept.newest().state["number"], sorted(path.name for path in kept.folder.iterdir()))
        """
    )
    folder = tmp_path / "checkpoints"
    done = subprocess.run([sys.executable, "-c", script, str(folder)], check=True, capture_output=True, text=True)
    told, left = done.stdout.strip().splitlines()
    assert re.search(r"step-00000002.pt: the checkpoint of 40\d{4} bytes .* could not be written .*disk is full", told)
    assert left == "1 ['manifest.json', 'step-00000001.pt']"


def test_a_limit_on_files_is_seen_before_anything_is_written(kept):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # In a child: the limit would bind this test run.
    script = textwrap.dedent(
        f"""
        import resource, signal
        from pathlib import Path
        from eightgig.core.errors import CheckpointError
        from eightgig.training.checkpointing.checkpoint import Checkpoints
        from eightgig.training.checkpointing.recipe import Recipe
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {hard}))
        try:
            Checkpoints(Path({str(kept.folder)!r}), Recipe(values={{}}, circumstances={{}})).require_space(5000)
        except CheckpointError as error:
            print(error)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "a checkpoint needs 5000 bytes (4.9 KiB), but a file of that size is refused" in done.stdout


def test_another_recipe_begins_anew_and_nothing_is_lost(kept, tmp_path, caplog):
    kept.save(state(1), step=1)
    changed = Checkpoints(kept.folder, OTHER)
    with pytest.raises(CheckpointError, match=r"another recipe: train.learning_rate is 0.2, was 0.1. Set them back"):
        find_checkpoint(changed, "must")
    assert find_checkpoint(changed, "auto") is None
    assert "train.learning_rate is 0.2, was 0.1): training begins anew" in caplog.text
    assert changed.newest() is None
    assert present(Checkpoints(kept.folder / "previous", RECIPE).newest()).step == 1


def test_never_begins_anew(kept):
    kept.save(state(1), step=1)
    assert find_checkpoint(kept, "never") is None
    assert kept.newest() is None


def test_other_circumstances_are_told_and_the_run_goes_on(kept, caplog):
    kept.save(state(1), step=1)
    newer = RECIPE.model_copy(update={"circumstances": {"torch": "3"}})
    assert present(find_checkpoint(Checkpoints(kept.folder, newer), "auto")).step == 1
    assert "the result may differ slightly: torch is 3, was 2" in caplog.text


def test_a_finished_run_is_taken_unless_its_code_was_another(kept):
    kept.save(state(1, finished=True), step=1)
    assert present(find_checkpoint(kept, "auto")).state["finished"]
    newer = Checkpoints(kept.folder, RECIPE.model_copy(update={"circumstances": {"torch": "3"}}))
    assert present(find_checkpoint(newer, "must")).state["finished"]
    assert find_checkpoint(newer, "auto") is None


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    path = tmp_path / "step-1.pt"
    torch.save({"finished": Harm()}, path)
    digest = module._digest(path)
    with pytest.raises(CheckpointError, match="no checkpoint of tensors and plain values"):
        read_checkpoint(path, sha256=digest)


def test_the_recipe_names_what_differs():
    first = Recipe.of(code="12", train={"epochs": 3, "augment": {"flip": 0.5}}, store="ab")
    second = Recipe.of(code="34", train={"epochs": 4, "augment": None}, store="ab")
    assert second.changes(first) == [
        "train.augment is None, was not there",
        "train.augment.flip is not there, was 0.5",
        "train.epochs is 4, was 3",
    ]
    assert json.loads(first.model_dump_json())["circumstances"]["threads"] == str(torch.get_num_threads())
