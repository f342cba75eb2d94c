"""What is done without make is what make does."""

import shutil
import subprocess
import sys

import pytest

NEEDS_MAKE = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
PROGRAMS = ("kedro", "pytest", "ruff", "mypy", "lint-imports", "eightgig", "uv", "python")


def lines_of(command, project_path):
    done = subprocess.run(command, cwd=project_path, capture_output=True, text=True, check=True)
    # Shell's own quotes aside; what a Makefile says of versions and marks is the script's own.
    lines = [line.replace("'", "").replace('"', "") for line in done.stdout.splitlines()]
    return [line for line in lines if line.startswith(tuple(f".venv/bin/{name} " for name in PROGRAMS))]


@NEEDS_MAKE
@pytest.mark.skipif(sys.platform == "win32", reason="compares with make's paths")
@pytest.mark.parametrize("target", ["environment", "demo", "test", "test-all", "check", "doctor"])
def test_a_target_does_what_its_twin_does(target, project_path, tmp_path):
    # A copy without an environment, so that set-up is due in both.
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-sample-data.txt"):
        shutil.copy(project_path / name, tmp_path / name)
    shutil.copytree(project_path / "scripts", tmp_path / "scripts")
    wanted = lines_of(["make", "--dry-run", target], tmp_path)
    assert wanted == lines_of([sys.executable, "scripts/make.py", "--dry-run", target], tmp_path)
    assert len(wanted) >= 4
