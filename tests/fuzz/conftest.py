"""The machinery of this folder, and the table of what it did."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # limits on memory, and what a process takes of it, are Linux's

_TALLIES = pytest.StashKey[list[Any]]()


@pytest.fixture(scope="session")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.fuzz.harness import Fuzzer
    from tests.fuzz.readers import MODULES

    made = Fuzzer(tmp_path_factory.mktemp("fuzz"), MODULES)
    yield made
    made.close()


@pytest.fixture
def note_tally(request: pytest.FixtureRequest) -> Any:
    """Return what takes a reader's figures for the table at the end."""
    return request.config.stash.setdefault(_TALLIES, []).append


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    tallies = config.stash.get(_TALLIES, [])
    if not tallies or "EIGHTGIG_FUZZ_INPUTS" not in os.environ:
        return
    terminalreporter.section("hostile files")
    terminalreporter.write_line(
        f"{'reader':24}{'inputs':>8}{'refused':>9}{'read':>8}{'ms each':>9}{'slowest ms':>12}{'most MiB':>10}"
    )
    for each in tallies:
        terminalreporter.write_line(
            f"{each.reader:24}{each.num_inputs:8}{each.num_refused:9}{each.num_read:8}"
            f"{1000 * each.seconds / max(1, each.num_inputs):9.1f}{1000 * each.slowest_seconds:12.0f}"
            f"{each.largest_mib:10.0f}"
        )
