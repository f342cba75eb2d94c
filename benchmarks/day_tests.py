"""The gpu-marked tests, all in one process; what each came to is kept as soon as it has ended."""

import json
import sys
from pathlib import Path
from typing import Any

from day_child import Keep, Measure

ROOT = Path(__file__).parents[1]
# Where a CPU rehearses: a few quick tests without the mark, to go the same way.
_REHEARSED = ("tests/vram/test_scaling.py", "tests/vram/test_roofline.py")
_SAID = 400  # characters of a failure that are kept


def work(out: str, *, device: str, tiny: bool) -> Measure:  # noqa: ARG001  as all works are called
    """Import what tests import; then run those that did not pass yet."""
    import pytest

    __import__("torch")  # seconds; nothing that brings a plugin of pytest along, which it has to import itself
    watch = Watch(Path(out))
    marked = ["-m", "gpu"]
    chosen = ["-p", "no:cacheprovider", "-q", *(_REHEARSED if tiny else marked)]

    def measure(keep: Keep) -> dict[str, Any]:
        watch.keep = keep
        code = pytest.main(["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), *chosen], plugins=[watch])
        return watch.value() | watch.verdict(int(code))

    sys.path.insert(0, str(ROOT))  # `tests` is found from the project's folder
    return measure


class Watch:
    """A plugin of pytest: leaves out what passed before, and writes down each test.

    Args:
        path: a line of JSON a test, of all calls.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._problems = path, list[str]()
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._outcomes: dict[str, dict[str, Any]] = {line["test"]: line for line in map(json.loads, lines)}
        self.keep: Keep = lambda _: None

    def value(self) -> dict[str, Any]:
        """Return how many tests came to what, and those that did not pass."""
        counts: dict[str, int] = {}
        for line in self._outcomes.values():
            counts[line["outcome"]] = counts.get(line["outcome"], 0) + 1
        others = {test: line["said"] for test, line in self._outcomes.items() if line["outcome"] != "passed"}
        return {"counts": counts, "others": others, "not_collected": self._problems, "files": [self._path.name]}

    def verdict(self, code: int) -> dict[str, str]:
        """Return why the row failed, if it did; the tests that passed are among its figures all the same."""
        failed = [test for test, line in self._outcomes.items() if line["outcome"] == "failed"]
        if failed or self._problems:
            return {"failed": f"{len(failed)} failed, {len(self._problems)} files not collected"}
        return {} if self._outcomes else {"failed": f"pytest ended with code {code} and ran nothing"}

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Leave out the tests that passed before."""
        done = {test for test, line in self._outcomes.items() if line["outcome"] == "passed"}
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
        items[:] = [item for item in items if item.nodeid not in done]

    def pytest_collectreport(self, report: Any) -> None:
        """Note a file that cannot be imported: its tests are not skipped in silence."""
        if report.failed:
            self._problems.append(f"{report.nodeid}: {str(report.longrepr).strip().splitlines()[-1][:_SAID]}")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep what a test came to."""
        if report.when == "call" or report.outcome != "passed":
            said = "" if report.passed else str(report.longrepr)[-_SAID:]
            seconds = round(report.duration, 2)
            line = {"test": report.nodeid, "outcome": report.outcome, "seconds": seconds, "said": said}
            self._outcomes[report.nodeid] = line
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            self.keep(self.value())
