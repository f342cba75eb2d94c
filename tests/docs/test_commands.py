"""Every command of the documents is one: what it names is there. Cheap ones are run."""

import re
import tomllib
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.validation import ParameterValidator
from omegaconf import OmegaConf
from tests.documents import PROJECT, SHELLS, blocks, commands, documents

from eightgig.cli import cli, command, main

COMMANDS = list(commands())
# The shell's own, and what other programs are called by, of which nothing is ours to check.
OTHERS = {"docker", "source", "export", "srun", "if", "then", "fi", "py", ".venvScriptsActivate.ps1"}
# Of examples that a reader writes first.
NOT_YET = {"pet_classifier"}
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")


def ids_of(*kinds):
    return pytest.mark.parametrize("words", [each.words for each in COMMANDS if each.words[0] in kinds], ids=" ".join)


@pytest.fixture(scope="module")
def registry():
    """All pipelines; a run before may have left the one that it asked for."""
    bootstrap_project(PROJECT)
    pipelines.configure("eightgig.pipeline_registry")
    return pipelines


@pytest.fixture(scope="module")
def parameters_of(registry):
    """Returns the parameters of an environment of conf/, read once."""
    read: dict[str, dict] = {}

    def of(env):
        if env not in read:
            with KedroSession.create(project_path=PROJECT, env=env) as session:
                context: Any = session
                read[env] = context.load_context().config_loader["parameters"]
        return read[env]

    return of


def test_each_is_of_a_known_kind():
    """Else nothing here would look at it."""
    known = {"kedro", "eightgig", "make", "mlflow", "jupyter", "pip", "python", "python3", "pytest"} | OTHERS
    assert [each for each in COMMANDS if each.words[0] not in known] == []
    assert len(COMMANDS) > 100


def test_no_command_stands_where_it_is_not_looked_at():
    """A block that names no language holds files or messages."""
    loose = [block for path in documents() for block in blocks(path, "")]
    assert [block for block in loose if re.search(r"^ *(make|eightgig|pip) \w", block, re.M)] == []
    named = {name for path in documents() for name in re.findall(r"^ *```(\w+)$", path.read_text("utf-8"), re.M)}
    assert named <= {*SHELLS, "python", "yaml"}


@ids_of("kedro")
def test_kedro(words, registry, parameters_of):
    if words[1:2] != ("run",):
        plugins = {
            entry.name for kind in ("project", "global") for entry in entry_points(group=f"kedro.{kind}_commands")
        }
        assert words[1] in {name.removeprefix("kedro-") for name in plugins}
        return
    if not words[2:]:
        return
    options = cli.commands["run"].make_context("run", list(words[2:])).params
    name = options["pipeline"]
    if name in NOT_YET:
        return
    tags = {tag for node in registry[name].nodes for tag in node.tags}
    assert set(options["tags"] or ()) <= tags
    assert set(options["params"]) <= {name}
    env = options["env"] or "base"
    assert (PROJECT / "conf" / env).is_dir()
    groups = {text.split(".")[1] for text in registry[name].inputs() if text.startswith(f"params:{name}.")}
    assert set(options["params"].get(name, ())) <= groups
    merged: Any = OmegaConf.to_container(OmegaConf.merge(parameters_of(env), options["params"]), resolve=True)
    ParameterValidator({name: registry[name]}).validate_raw_params(merged)


@ids_of("eightgig")
def test_eightgig(words, monkeypatch):
    """Its options are parsed as they are typed; `[FOLDER]` stands for what may be left out."""
    passed = {name: part._replace(run=lambda _: 0) for name, part in command._COMMANDS.items()}
    monkeypatch.setattr(command, "_COMMANDS", passed)
    required = {("calibrate",): ["--out", "calibration.json"], ("fit",): ["WHAT"]}.get(words[1:], [])
    assert main([*(word for word in words[1:] if not word.startswith("[")), *required]) == 0


@ids_of("make")
def test_make(words):
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.M))
    for word in words[1:]:
        name, is_set, _ = word.partition("=")
        assert f"$({name})" in MAKEFILE if is_set else name in targets, word


@ids_of("pip")
def test_pip(words):
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    asked = {name for word in words for found in re.findall(r"\[(.+)\]", word) for name in found.split(",")}
    assert asked <= set(extras)
    files = [words[place + 1] for place, word in enumerate(words) if word == "-r"]
    assert all((PROJECT / name).is_file() for name in files)


@ids_of("python", "python3")
def test_python(words):
    if words[1] == "-m":
        assert find_spec(words[2]) is not None
    else:
        assert (PROJECT / words[1]).is_file()


@ids_of("mlflow", "jupyter")
def test_programs_of_others(words):
    assert entry_points(group="console_scripts", name=words[0])
    assert words[1] in ("ui", "server", "lab")
    assert all((PROJECT / word).exists() for word in words[2:] if "/" not in word and "-" not in word)


def test_the_doctor_as_the_documents_call_it(capsys):
    calls = [each.words[1:] for each in COMMANDS if each.words[:2] == ("eightgig", "doctor")]
    assert calls
    for words in calls:
        assert main(list(words)) in (0, 1)
        assert "DOC024" in capsys.readouterr().out


def test_replay_as_the_documents_call_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("EIGHTGIG_DATA", str(tmp_path))
    assert ("eightgig", "replay") in [each.words for each in COMMANDS]
    assert main(["replay"]) == 0
    assert capsys.readouterr().out.endswith("0 runs sent, 0 left\n")


def test_ci_calls_what_the_readme_explains():
    called = re.findall(r"^(make .+)$", (PROJECT / ".ci" / "run").read_text("utf-8"), re.M)
    readme = (PROJECT / "README.md").read_text("utf-8")
    assert called
    assert [each for each in called if f"`{each}`" not in readme] == []
