"""The command `eightgig`: it is installed, begins at once, and asks only what it runs."""

import json
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

from eightgig.cli import main

SUBCOMMANDS = ("fit", "cards", "doctor", "snapshot", "calibrate", "replay", "completion", "join")
_HELP_OF_ALL = """
import sys
from eightgig.cli import main
for arguments in ([], *([name] for name in {names!r})):
    try:
        main([*arguments, "--help"])
    except SystemExit as left:
        assert left.code == 0
heavy = ("torch", "kedro", "click", "mlflow", "numpy", "pandas", "rich", "pydantic")
print("heavy:" + ",".join(name for name in heavy if name in sys.modules))
"""


def test_the_project_installs_it(project_path):
    project = tomllib.loads((project_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["eightgig"].partition(":")
    assert getattr(import_module(module), name) is main


def test_help_of_every_part_imports_nothing_heavy():
    code = _HELP_OF_ALL.format(names=SUBCOMMANDS)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "heavy:"
    for name in SUBCOMMANDS:
        assert f"usage: eightgig {name} " in said


@pytest.mark.parametrize("arguments", [[], ["fits"]])
def test_what_it_does_not_know_ends_with_the_names_that_it_knows(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "COMMAND" in said if not arguments else all(name in said for name in SUBCOMMANDS)


def test_joining_a_run_that_does_not_begin(tmp_path, capsys):
    job = tmp_path / "job.json"
    assert main(["join", str(job), "--node-rank", "1", "--wait", "0"]) == 1
    assert capsys.readouterr().err == f"{job}: no run began within 0 s\n"


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "Makefile", "docs", "src"])
def test_no_text_names_a_module_where_there_is_a_command(project_path, name):
    """What a person types is `eightgig ...`; modules of this project are run by its own processes alone."""
    place = project_path / name
    files = [place] if place.is_file() else [*place.rglob("*.md"), *place.rglob("*.py")]
    past = project_path / "docs" / "decisions"
    found = [file for file in files if past not in file.parents and "python -m eightgig" in file.read_text("utf-8")]
    assert found == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_their_options(shell, capsys):
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    options = ("-l card", "-l node-rank") if shell == "fish" else ("--card", "--node-rank")
    assert all(word in said for word in (*SUBCOMMANDS, *options, "qlora"))


def test_bash_takes_the_script(capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    asked = 'COMP_WORDS=(eightgig fit --to); COMP_CWORD=2; _eightgig; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script + asked], capture_output=True, text=True, check=True)
    assert "--tokens" in done.stdout.split()


def test_replay_says_in_json_how_many_are_left(tmp_path, capsys):
    assert main(["replay", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(tmp_path), "sent": 0, "left": 0}


def test_calibrate_says_in_json_what_was_found(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("eightgig.vram.tracing.calibrate.calibrate", lambda *_: ["one", "two"])
    assert main(["calibrate", "--out", str(tmp_path / "card.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(tmp_path / "card.json"), "found": ["one", "two"]}


def test_snapshot_gives_a_line_of_json_a_file(tmp_path, capsys, monkeypatch):
    class Compared:
        exact = False

        def model_dump_json(self):
            return '{"exact": false}'

    monkeypatch.setattr("eightgig.vram.allocator.snapshot.compare_snapshot", lambda *_: Compared())
    assert main(["snapshot", "a.pickle", "b.pickle", "--json"]) == 1
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"exact": False}] * 2
