"""The process of one row: makes all ready on the CPU, waits for its go, and only then touches the card.

`python day_child.py ORDER RESULT`: ORDER names the work and its arguments, RESULT is written whole, again and again
while rows have parts. A work is a function that makes ready and gives a function that measures.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eightgig.core.files import write_text
from eightgig.vram.tracing.child import end_with

Keep = Callable[[dict[str, Any]], None]
Measure = Callable[[Keep], dict[str, Any]]
GO = "go"


def carry_out(order: dict[str, Any], result: Path, wait: Callable[[], bool]) -> None:
    """Make ready, wait, measure; `wait` gives False where the row is called off."""
    module, _, name = order["work"].partition(":")
    make_ready: Callable[..., Measure] = getattr(importlib.import_module(module), name)
    measure = make_ready(**order["arguments"])
    import_late()
    ready_at = time.time()
    if not wait():
        return
    began_at = time.time()

    def keep(value: dict[str, Any], *, whole: bool = False) -> None:
        times = {"ready_at": ready_at, "began_at": began_at, "ended_at": time.time()}
        write_text(result, json.dumps({"whole": whole, "value": value, **times}) + "\n")

    keep(measure(keep), whole=True)


def import_late() -> None:
    """Import what torch imports only when the first optimizer is made: seconds that the card need not wait for."""
    if "torch" in sys.modules:
        importlib.import_module("torch._dynamo")


def main(arguments: list[str]) -> None:
    """Do what the parent asks, and end at once: nothing is left to tidy up."""
    end_with(os.getppid())
    order = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    carry_out(order, Path(arguments[1]), lambda: sys.stdin.readline().strip() == GO)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the next row waits for the card's memory, not for the interpreter to fold up


if __name__ == "__main__":
    main(sys.argv[1:])
