"""What a person reads where a run cannot go on: the message alone, in a few lines; the traceback is kept."""

import errno
import os
import subprocess
import sys

import pytest

from eightgig.cli import kedro_run, plain_errors
from eightgig.core.errors import DataError

REFUSED = """Parameter validation failed:
- Parameter 'net.data': Failed to instantiate DataParameters for parameter 'net.data': 2 validation errors
source
  Input should be 'rendered', 'folder' or 'oxford102' [type=literal_error, input_value='/nowhere', input_type=str]
    For further information visit https://errors.pydantic.dev/2.14/v/literal_error
split.val
  Input should be less than 1 [type=less_than, input_value=2, input_type=int]
    For further information visit https://errors.pydantic.dev/2.14/v/less_than
- Parameter 'net.train': Failed to instantiate TrainParameters for parameter 'net.train': 1 validation error
epoch
  Extra inputs are not permitted [type=extra_forbidden, input_value=3, input_type=int]
    For further information visit https://errors.pydantic.dev/2.14/v/extra_forbidden"""


class ParameterValidationError(Exception):
    """Stands for Kedro's."""


def raised(error, cause=None):
    error.__cause__ = cause
    try:
        raise error
    except type(error) as caught:
        return caught


def test_an_error_of_ones_own_is_its_message_however_deep_it_lies():
    inner = DataError("/pictures: there are none. Name the folder.")
    assert plain_errors.message_of(inner) == str(inner)
    assert plain_errors.message_of(raised(RuntimeError("dataset"), raised(ValueError("x"), inner))) == str(inner)


def test_what_nobody_foresaw_has_no_message():
    assert plain_errors.message_of(raised(ZeroDivisionError("division by zero"))) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_with_the_file_and_the_way_out(number, monkeypatch, tmp_path):
    monkeypatch.setenv("EIGHTGIG_DATA", str(tmp_path))
    of_a_file = OSError(number, "No space left on device", "/data/store.h5")
    said = plain_errors.message_of(raised(RuntimeError("while saving"), of_a_file))
    assert said is not None
    assert said.startswith("/data/store.h5 cannot be written: No space left on device. Free some space,")
    assert "EIGHTGIG_DATA" in said
    nowhere = plain_errors.message_of(OSError(number, "No space left on device"))
    assert nowhere is not None
    assert nowhere.startswith(f"{tmp_path} cannot be written")
    assert plain_errors.message_of(OSError(errno.ENOENT, "there is none", "/data/store.h5")) is None


def test_refused_parameters_are_named_with_what_was_wanted_and_found():
    said = plain_errors.message_of(ParameterValidationError(REFUSED))
    assert said is not None
    assert said.splitlines() == [
        "net.data.source: input should be 'rendered', 'folder' or 'oxford102'; found '/nowhere'",
        "net.data.split.val: input should be less than 1; found 2",
        "net.train.epoch: there is no such parameter; look at the name",
    ]


def test_a_refusal_that_is_no_record_of_pydantics_is_told_whole():
    said = plain_errors.message_of(ParameterValidationError("failed:\n- Parameter 'net.data': it is\n  no mapping"))
    assert said == "net.data: it is no mapping"


def test_a_misspelt_name_names_its_neighbour():
    said = plain_errors.unknown_name("tag", "ingst", ["ingest", "plan"])
    assert said == "there is no tag 'ingst': did you mean ingest? There are ingest, plan."
    assert "did you mean" not in plain_errors.unknown_name("tag", "zzz", ["ingest", "plan"])


def run(error, monkeypatch, **options):
    def callback(**_):
        raise error

    monkeypatch.setattr("eightgig.cli.kedro_run.kedro_run.callback", callback)
    return kedro_run.run_plainly(pipeline="", pipelines=[], tags=[], **options)


def test_a_run_says_its_error_and_ends_with_1(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("EIGHTGIG_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as left:
        run(DataError("no pictures"), monkeypatch)
    said = capsys.readouterr().err.splitlines()
    assert left.value.code == 1
    assert said[0] == "no pictures"
    assert said[1].startswith(f"The traceback is in {tmp_path / 'logs'}")
    assert len(said) == 2


def test_an_unforeseen_error_shows_where_it_was_raised_and_how_to_report_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("EIGHTGIG_DATA", str(tmp_path))
    with pytest.raises(SystemExit):
        run(ZeroDivisionError("division by zero"), monkeypatch)
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "Please report it" in said.splitlines()[-1]


@pytest.mark.parametrize("by", ["option", "environment"])
def test_who_wants_the_traceback_gets_it(by, monkeypatch):
    monkeypatch.setenv("EIGHTGIG_TRACEBACK", "1" if by == "environment" else "")
    with pytest.raises(DataError):
        run(DataError("no pictures"), monkeypatch, traceback=by == "option")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--pipeline", "flower_clasifier"],
            "there is no pipeline 'flower_clasifier': did you mean flower_classifier?",
        ),
        (["--pipeline", "flower_classifier", "--tags", "ingst"], "there is no tag 'ingst': did you mean ingest?"),
        (
            ["--pipeline", "flower_classifier", "--tags", "ingest", "--params", "flower_classifier.train.epoch=3"],
            "flower_classifier.train.epoch: there is no such parameter",
        ),
    ],
)
def test_the_terminal_shows_no_traceback(arguments, said, project_path, tmp_path):
    ended = kedro(arguments, project_path, tmp_path)
    lines = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert any(line.startswith(said) for line in lines)
    assert len(lines) <= 8
    assert "Traceback (most" not in ended.stderr + ended.stdout


INGEST = ["--pipeline", "flower_classifier", "--tags", "ingest", "--params", "flower_classifier.data.num_images=21"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs ulimit")
def test_no_disk_is_told_in_few_lines(project_path, tmp_path):
    files_of_64_kib = ["sh", "-c", 'ulimit -f 128 && exec "$@"', "sh"]
    ended = kedro(INGEST, project_path, tmp_path, files_of_64_kib)
    lines = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert 1 < len(lines) <= 8
    assert "ulimit -f" in lines[0]
    assert "Traceback (most" not in ended.stderr + ended.stdout


def test_a_dead_tracking_server_is_told_in_few_lines_and_the_run_goes_on(project_path, tmp_path):
    ended = kedro(INGEST, project_path, tmp_path)
    told = [line for line in ended.stdout.splitlines() if "tracking:" in line]
    assert ended.returncode == 0
    assert (tmp_path / "05_model_input" / "flower_classifier" / "store.h5").is_file()
    assert ended.stderr == ""
    assert len(told) == 2
    assert "http://127.0.0.1:9 does not take what is logged; it is kept in" in told[0]
    assert told[1].endswith(f"or by: eightgig replay {tmp_path / '09_tracking'}")
    assert "Traceback (most" not in ended.stdout


def kedro(arguments, project_path, data, prefix=()):
    """Run a pipeline as a person does, with a tracking server that is dead."""
    return subprocess.run(
        [*prefix, sys.executable, "-m", "kedro", "run", *arguments],
        cwd=project_path,
        env={**os.environ, "EIGHTGIG_DATA": str(data), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
