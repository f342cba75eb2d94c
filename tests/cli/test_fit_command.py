"""`eightgig fit` as it is typed: what it says, where, and its exit status."""

import json

import pytest
from tests.fitting.own_networks import make  # noqa: F401  asked for by its address

from eightgig.cli import main
from eightgig.fitting import ask

OWN = "tests.fitting.own_networks:make"


@pytest.fixture(scope="module")
def answer():
    return ask.fit(OWN, batch=64)


@pytest.fixture
def answered(answer, monkeypatch):
    """Returns what was asked; the answer is one that was made before."""
    asked = []

    def fit(what, card, **options):
        asked.append((what, card, options))
        return answer

    monkeypatch.setattr(ask, "fit", fit)
    return asked


def test_a_table_for_a_person_and_progress_beside_it(answered, capsys):
    assert main(["fit", OWN, "--batch", "64", "--card", "RTX 3070", "--card", "found", "--display", "0.5"]) == 0
    said = capsys.readouterr()
    assert "RTX 3070  8    fits" in said.out
    assert said.err == f"eightgig fit {OWN}\n"
    ((what, card, options),) = answered
    assert (what, card) == (OWN, ["RTX 3070", "found"])
    assert {name: options[name] for name in ("batch", "display_gib", "task")} == {
        "batch": 64,
        "display_gib": 0.5,
        "task": "train",
    }


def test_json_for_a_program_is_the_record(answered, capsys):
    assert main(["fit", OWN, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rows"][0]["verdict"] == "fits"


def test_a_page_is_written(answered, capsys, tmp_path):
    assert main(["fit", OWN, "--html", str(tmp_path / "fit.html"), "--explain"]) == 0
    assert "<table>" in (tmp_path / "fit.html").read_text("utf-8")
    assert "How it was found" in capsys.readouterr().out


def test_one_that_does_not_fit_ends_with_1(answer, answered, monkeypatch):
    short = answer.rows[0].model_copy(update={"verdict": "no"})
    monkeypatch.setattr(ask, "fit", lambda *_, **__: answer.model_copy(update={"rows": (answer.rows[0], short)}))
    assert main(["fit", OWN]) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([OWN, "--card", "RTX 307"], "did you mean RTX 3070"),
        ([OWN, "--batch", "0"], "--batch 0: input should be greater than or equal to 1"),
        ([OWN, "--budget", "-1"], "--budget -1.0"),
        ([OWN, "--tokens", "8"], "--tokens is not for"),
        ([OWN, "--display", "9"], "leaves nothing"),
        (["tests.fitting.own_networks:nothing"], "has no function 'nothing'"),
        (["no_such_package:make"], "cannot be imported"),
    ],
)
def test_what_is_asked_wrongly_is_one_line_with_the_way_out(arguments, said, capsys):
    assert main(["fit", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1]
    assert all(line.startswith(("eightgig fit", "reads", "traces")) for line in lines[:-1])


def test_cards_are_listed(capsys):
    assert main(["cards"]) == 0
    assert "RTX 3070 " in capsys.readouterr().out
    assert main(["cards", "--json"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)
    assert {"name", "memory_gib", "sources"} <= set(first)
