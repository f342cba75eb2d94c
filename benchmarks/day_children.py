"""Rows as processes: the next one is started, and makes ready, while the one before is on the card."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from day_child import GO

FOLDER = Path(__file__).parent
_LAST_LINES = 8
# These would be measured instead of what a run gets by default; the last would let each process compile all it imports.
_SETTINGS = {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG", "PYTHONDONTWRITEBYTECODE"}


class Answer(NamedTuple):
    """What a process brought.

    Attributes:
        whole: it came to its end.
        why: it did not.
        ready_at, began_at, ended_at: time of day in seconds; None where it did not get so far.
    """

    whole: bool
    value: dict[str, Any]
    why: str | None
    ready_at: float | None = None
    began_at: float | None = None
    ended_at: float | None = None


class Child:
    """One row's process, from its start to its answer.

    Args:
        name: of its files in `folder`.
        work: `module:function` of day_child.py.
        arguments: of the function.
        most: seconds from its go after which it is ended.
    """

    def __init__(
        self,
        name: str,
        work: str,
        arguments: Mapping[str, Any],
        *,
        folder: Path,
        most: float,
        environment: Mapping[str, str],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        order, self._result, self._log = (folder / f"{name}.{kind}" for kind in ("order", "result", "log"))
        self._result.unlink(missing_ok=True)
        order.write_text(json.dumps({"work": work, "arguments": dict(arguments)}), encoding="utf-8")
        self._most = most
        self._gone_at: float | None = None
        self._why: str | None = None
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  ourselves
                [sys.executable, str(FOLDER / "day_child.py"), str(order), str(self._result)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=child_environment(environment),
                start_new_session=True,  # so that its own children can be ended with it
            )

    def go(self, most: float) -> None:
        """Let it measure, for so many seconds at most."""
        self._most, self._gone_at = min(self._most, most), time.time()
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        with contextlib.suppress(BrokenPipeError):  # it has ended already; its answer says why
            self._process.stdin.write(f"{GO}\n".encode())
            self._process.stdin.flush()

    def ended(self) -> bool:
        """Tell whether it has ended; it is ended here where its time is over."""
        if self._process.poll() is not None:
            return True
        if self._gone_at is not None and time.time() - self._gone_at > self._most:
            self._why = f"time: it was ended after {self._most:.0f} s"
            self.end()
            return True
        return False

    def end(self) -> None:
        """End it with all that it started, whatever it is at."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._hung_up()

    def answer(self) -> Answer:
        """Return what it brought, also where it did not come to its end; it has ended."""
        self._hung_up()
        found: dict[str, Any] = {"whole": False, "value": {}}
        if self._result.exists():
            found = json.loads(self._result.read_text(encoding="utf-8"))
        why = None if found["whole"] else self._why or f"exit code {self._process.returncode}: {self._last_words()}"
        times = {name: found.get(name) for name in ("ready_at", "began_at", "ended_at")}
        return Answer(found["whole"], found["value"], why, **times)

    def _hung_up(self) -> None:
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
        return " / ".join(line.strip() for line in lines) or "it said nothing"


def is_compiled(package: str) -> bool:
    """Tell whether a package's bytecode lies beside it; without it each process compiles longer than a row takes."""
    found = find_spec(package)
    return found is None or found.cached is None or Path(found.cached).exists()


def child_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a row: nothing that changes what is measured, and no network."""
    kept = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    if not is_compiled("torch"):
        kept.setdefault("PYTHONPYCACHEPREFIX", str(Path(tempfile.gettempdir()) / "gpu-day-bytecode"))
    path = os.pathsep.join(dict.fromkeys(filter(None, [str(FOLDER), *sys.path])))
    return {**kept, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", **more}
