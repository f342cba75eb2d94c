"""Do the tests test? Small faults put into the code, one at a time: how many does a test notice?

mutmut makes the faults (mutants), knows which tests reach each, and runs these in a process forked from one that has
imported everything. A room is a package or a few files, with the tests that are its own. Of each room a seeded sample
is drawn; what survives is compared with `tests/mutants_survived.toml`, which names each accepted survivor with the
reason. Ends with 1 where less than 85 % of the others were killed.
"""

import argparse
import importlib.metadata
import json
import os
import random
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parents[1]
ACCEPTED = PROJECT / "tests" / "mutants_survived.toml"
ENOUGH = 0.85  # killed, of what is not accepted: the rest of a sample of 60 is 9 mutants, few enough to look at each
# Beside the code and its tests, what tests read of the project. Links, so that a room's folder is made in no time.
READ_BY_TESTS = ("src", "tests", "conf", "benchmarks", "docs", "Makefile", "requirements.lock")
LEFT_OUT = (
    # mutmut's detour at each call makes the allocator fifteen times slower than this test of speed allows.
    "tests/vram/test_replay.py::test_twenty_thousand_events_take_no_time",
    # These work in processes that import torch or MLflow anew: as long as all others of a room, for each mutant.
    "tests/training/test_lone_samples.py::test_the_planner_traces_a_micro_batch_of_one",
    "tests/tracking/test_run.py::test_a_process_that_leaves_without_ending_its_run_was_killed",
)
SURVIVED, NO_TESTS, NO_RESULT = 0, 33, 255  # mutmut's own, beside pytest's; 255: pytest could not begin
TIMEOUTS = (-24, -9)  # ended by the limit of processor time


class Room(NamedTuple):
    """Code, and the tests that should notice what is wrong with it."""

    code: tuple[str, ...]  # patterns below src/eightgig/
    tests: tuple[str, ...]  # files and folders below tests/
    options: tuple[str, ...] = ()  # of pytest


ROOMS = {
    "vram/allocator": Room(
        ("vram/allocator/*.py",),
        ("vram/test_allocator.py", "vram/test_replay.py", "vram/test_snapshot.py", "vram/test_workspace.py"),
    ),
    "vram/planning": Room(
        ("vram/planning/*.py",),
        # Without what traces a network in a child: seconds for each mutant, and about the tracer.
        (
            *("vram/test_planner.py", "vram/test_findings.py", "vram/test_card_memory.py"),
            "vram/test_processes.py::test_a_share_of_what_lasts_and_some_blocks_whole",
            "vram/test_processes.py::test_validation_sends_no_gradients",
        ),
    ),
    "data/store": Room(
        ("data/store/reader.py", "data/store/writer.py"),
        ("data/store", "tasks/detection/test_box_store.py", "tasks/segmentation/test_mask_store.py"),
    ),
    "export/precision": Room(
        ("export/precision.py",),
        ("export/test_precision.py", "export/test_precision_by_hand.py", "export/test_dynamic_int8.py"),
    ),
    "tracking": Room(("tracking/*.py",), ("tracking",), ("-p", "tests.tracking.with_mlflow")),
    "training": Room(
        ("training/train_step.py", "training/train_state.py", "training/forward_backward.py", "training/recovery.py"),
        (
            *("training/test_trainer.py", "training/test_recovery.py", "training/test_in_backward.py"),
            *("training/test_mixed_precision.py", "training/test_average.py", "training/test_lone_samples.py"),
            "training/test_going_on.py",
        ),
    ),
}


class Change(NamedTuple):
    """A mutant by what it changes: its number would be another one after the next edit of its function."""

    function: str
    was: str
    now: str


def main() -> int:
    """Measure the rooms that were asked for, and return 1 where too few mutants were killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", choices=ROOMS, action="append", help="all, unless named")
    parser.add_argument("--sample", type=int, default=60, help="mutants a room; 0: all of them, which takes hours")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    chosen = parser.parse_args()
    rooms = {name: measure(name, chosen.sample, chosen.seed) for name in chosen.room or ROOMS}
    if chosen.out:
        _keep(chosen.out, rooms)
    return 0 if all(room["share_killed"] >= ENOUGH for room in rooms.values()) else 1


def measure(name: str, num_sampled: int, seed: int) -> dict[str, Any]:
    """Return what became of a seeded sample of a room's mutants."""
    begun, folder, every = time.perf_counter(), _make_folder(name), mutant_names(ROOMS[name])
    sample = random.Random(f"{seed} {name}").sample(every, min(num_sampled or len(every), len(every)))
    _mutmut(folder, "run", "--max-children", "1", *sample)
    codes = _exit_codes(folder, sample)
    survivors = {mutant: _change(folder, mutant) for mutant in sample if codes[mutant] in (SURVIVED, NO_TESTS)}
    accepted = {Change(row["function"], row["was"], row["now"]) for row in accepted_survivors()}
    row: dict[str, Any] = {
        **_origin(seed),
        "mutants": len(every),
        "sampled": len(sample),
        "killed": len(sample) - len(survivors),
        "of_these_by_timeout": sum(code in TIMEOUTS for code in codes.values()),
        "survived_accepted": sum(change in accepted for change in survivors.values()),
        "survived": [change._asdict() for change in survivors.values() if change not in accepted],
    }
    row["share_killed"] = share_killed(row["killed"], row["sampled"], row["survived_accepted"])
    row["seconds"] = round(time.perf_counter() - begun)
    _print_room(name, row)
    return row


def mutant_names(room: Room) -> list[str]:
    """Return all mutants that mutmut makes of a room's code, by its names for them."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    source = PROJECT / "src"
    names = []
    for path in sorted(source.rglob("*.py")):
        module = path.relative_to(source).as_posix()
        if any(fnmatch(module, f"eightgig/{pattern}") for pattern in room.code):
            made = mutate_file_contents(str(path), path.read_text("utf-8")).mutant_names
            names += [f"{module.removesuffix('.py').replace('/', '.')}.{name}" for name in made]
    return [name.replace(".__init__.", ".") for name in names]


def share_killed(killed: int, sampled: int, accepted: int) -> float:
    """Return killed mutants as a share of those that should have been; 1 where there are none."""
    return round(killed / (sampled - accepted), 4) if sampled > accepted else 1.0


def as_change(mutant: str, diff: Iterable[str]) -> Change:
    """Return a mutant by its function and the lines that `mutmut show` gives as its difference."""
    lines = [line for line in diff if not line.startswith(("---", "+++"))]
    was, now = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    function = mutant.partition("__mutmut_")[0].replace(".xǁ", ".").replace("ǁ", ".").replace(".x_", ".")
    return Change(function, was, now)


def accepted_survivors() -> list[dict[str, str]]:
    """Return the kept list of survivors that no test is wanted for: `function`, `was`, `now`, and the `reason`."""
    return tomllib.loads(ACCEPTED.read_text("utf-8"))["survivor"]


def _make_folder(name: str) -> Path:
    folder = PROJECT / "build" / "mutants" / name.replace("/", "-")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "mutants" / "src").mkdir(parents=True)  # Python takes no note of a path that came to be after its start
    for part in READ_BY_TESTS:
        (folder / part).symlink_to(PROJECT / part)
    left_out = [f"--deselect={test}" for test in LEFT_OUT]
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/eightgig/{pattern}" for pattern in ROOMS[name].code],
        "pytest_add_cli_args_test_selection": [f"tests/{path}" for path in ROOMS[name].tests],
        "pytest_add_cli_args": ["--hypothesis-profile=unshrunk", *ROOMS[name].options, *left_out],
        "also_copy": list(READ_BY_TESTS[2:]),
        "process_isolation": "forkserver",  # torch refuses a backward pass in a fork of a process that has run one
        "use_git_change_detection": False,
        "debug": True,  # what pytest prints stands in the log
        # A mutant may take (seconds of its tests + constant) x multiplier: another job may be beside it.
        "timeout_constant": 10.0,
        "timeout_multiplier": 3.0,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]  # of these values, JSON is TOML
    project = (PROJECT / "pyproject.toml").read_text("utf-8")
    (folder / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]), "utf-8")
    return folder


def _mutmut(folder: Path, *arguments: str) -> list[str]:
    """Return what mutmut prints; processes that tests start import the mutated code, too."""
    paths = [str(folder / "mutants" / "src"), str(folder / "mutants"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        (folder / "log").write_text(done.stdout + done.stderr, "utf-8")
        raise SystemExit(f"mutmut {arguments[0]} failed: see {folder / 'log'}")
    return done.stdout.splitlines()


def _exit_codes(folder: Path, sample: list[str]) -> dict[str, int]:
    codes: dict[str, int] = {}
    for path in folder.glob("mutants/src/**/*.meta"):
        codes |= json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    unknown = [mutant for mutant in sample if codes[mutant] in (None, NO_RESULT)]
    if unknown:
        raise SystemExit(f"{folder}: the tests did not run for {unknown}")
    return {mutant: codes[mutant] for mutant in sample}


def _change(folder: Path, mutant: str) -> Change:
    return as_change(mutant, _mutmut(folder, "show", mutant))


def _print_room(name: str, row: dict[str, Any]) -> None:
    print(
        f"{name}: {row['killed']} of {row['sampled']} killed ({row['of_these_by_timeout']} by timeout), "
        f"{row['survived_accepted']} survivors accepted: {row['share_killed']:.0%} of the others; "
        f"{row['mutants']} mutants in all; {row['seconds']} s",
        flush=True,
    )
    for change in row["survived"]:
        print(f"  {change['function']}\n    - {change['was']}\n    + {change['now']}", flush=True)


def _origin(seed: int) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S607
    return {"tool": f"mutmut {importlib.metadata.version('mutmut')}", "commit": commit.stdout.strip(), "seed": seed}


def _keep(out: Path, rooms: dict[str, Any]) -> None:
    """Write the rooms that were measured, beside what the file holds of others."""
    others = json.loads(out.read_text("utf-8")) if out.exists() else {}
    out.write_text(json.dumps(others | rooms, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
