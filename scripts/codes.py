"""Writes docs/codes.md, the index of all codes, from the code that gives them: `make docs` does it, a test holds it.

A code's words are the docstring of the function that finds it. Codes of a run that is under way have no function of
their own: their words are the rows of docs/recovery.md.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from eightgig.doctor import CHECKS
from eightgig.vram.planning.findings import FINDINGS

DOCS = Path(__file__).resolve().parents[1] / "docs"
_HEAD = """# Codes

Every code that a plan, a run or the doctor may say. Codes do not change. This page is made from the code (`make docs`).
"""
_OF_RUNS = re.compile(r"^\| (VRAM1\d\d) \| (.+) \|$", re.MULTILINE)


def page() -> str:
    """Return the page."""
    plans = ((code, _words(check)) for code, check in FINDINGS.items())
    runs = _OF_RUNS.findall((DOCS / "recovery.md").read_text(encoding="utf-8"))
    machine = sorted(tuple(_words(check).split(": ", 1)) for check in CHECKS)
    parts = (
        ("Of a plan", "memory.md#findings", plans),
        ("Of a run that is under way", "recovery.md#a-training-step-is-done-again-smaller", runs),
        ("Of this machine", "doctor.md", machine),
    )
    return _HEAD + "".join(_table(title, where, rows) for title, where, rows in parts)


def _words(check: Callable[..., Any]) -> str:
    """Return the first line of what a function says of itself."""
    return (check.__doc__ or "").strip().partition("\n")[0].removesuffix(".")


def _table(title: str, where: str, rows: Iterable[Sequence[str]]) -> str:
    head = f"\n## {title}\n\nIn full, and what to do: [{where.partition('#')[0]}]({where}).\n\n"
    return head + "| code | says |\n|---|---|\n" + "".join(f"| {code} | {words} |\n" for code, words in rows)


if __name__ == "__main__":
    (DOCS / "codes.md").write_text(page(), encoding="utf-8")
