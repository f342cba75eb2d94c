"""The Makefile's targets where there is no make, as on Windows: `python scripts/make.py demo`, `test`, `check`, ...

Only Python itself is needed. `--dry-run` says what would be done.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(".venv", "Scripts" if sys.platform == "win32" else "bin")
PYTHON = str(BIN / "python")
DONE = Path(".venv", "installed")
WANTED = ("requirements.lock", "requirements-sample-data.txt", "pyproject.toml")

_INSTALL = ("uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", PYTHON)
_BESIDE = ("--numprocesses", "logical", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder")
SET_UP = (
    (sys.executable, "-m", "venv", ".venv"),
    (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"),
    (*_INSTALL, "--requirements", "requirements.lock"),
    (*_INSTALL, "--no-deps", "--requirements", "requirements-sample-data.txt"),
    (*_INSTALL, "--no-deps", "--editable", "."),
)
TARGETS = {
    "environment": (),
    "demo": (("kedro", "run", "--pipeline", "flower_classifier"),),
    "test": (("pytest", *_BESIDE),),
    "test-all": (("pytest", *_BESIDE, "-m", "not slow"),),
    "check": (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",)),
    "doctor": (("eightgig", "doctor"),),
}


def is_set_up() -> bool:
    """Return whether the environment is there and newer than what it is made of."""
    done = ROOT / DONE
    return done.exists() and all(done.stat().st_mtime >= (ROOT / name).stat().st_mtime for name in WANTED)


def run(commands: Iterable[tuple[str, ...]], *, dry: bool) -> None:
    """Do commands one after the other; the first that fails ends the program with its status."""
    for program, *arguments in commands:
        path = program if Path(program).parent != Path() else str(BIN / program)
        if dry:
            sys.stdout.write(" ".join([path, *arguments]) + "\n")
            continue
        # By its whole path: Windows looks for a relative one from here, not from there.
        status = subprocess.run([ROOT / path, *arguments], cwd=ROOT, check=False).returncode  # noqa: S603  as written above
        if status:
            sys.exit(status)


def main() -> None:
    """Do what a target does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--dry-run", action="store_true", help="say the commands and do nothing")
    options = parser.parse_args()
    if not (3, 11) <= sys.version_info < (3, 14):
        parser.error("Python 3.11 to 3.13 is needed")
    if not is_set_up():
        run(SET_UP, dry=options.dry_run)
        if not options.dry_run:
            (ROOT / DONE).touch()
    run(TARGETS[options.target], dry=options.dry_run)


if __name__ == "__main__":
    main()
