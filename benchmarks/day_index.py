"""What a day with a card has brought: the state of every row, written whole after each, and taken up again."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gpu_row import Machine
from pydantic import Field

from eightgig.core.files import write_text
from eightgig.core.records import Record

State = Literal["measured", "failed", "not run"]
_WORTH: tuple[State, ...] = ("measured", "failed", "not run")
README = Path(__file__).parent / "results" / "README.md"
TABLE = "## GPU rows"


class RowState(Record):
    """What became of a row.

    Attributes:
        why: it failed or was not run.
        value: what was measured; of a row that was ended in the middle, what it had by then.
        files: beside the index, with the details.
        seconds: from its go to its end; the card was its own.
        waited: seconds that the card had nothing to do before it.
        ready_early: seconds that the row stood ready before its go; negative where the card waited for it.
    """

    section: str
    state: State
    why: str | None = None
    value: dict[str, Any] = Field(default_factory=dict)
    files: tuple[str, ...] = ()
    seconds: float | None = None
    waited: float | None = None
    ready_early: float | None = None
    at: str = ""


class Owed(NamedTuple):
    """A line of the table of what is owed, and the sections that bring it; none where no one card can."""

    what: str
    sections: tuple[str, ...]
    remark: str


class Index(Record):
    """All rows, by key.

    Attributes:
        missing: packages that are not here, with what that costs.
        owed: each line of the table of what is owed, with the states of its sections.
    """

    machine: Machine
    budget_gib: float
    date: str
    missing: dict[str, str] = Field(default_factory=dict)
    owed: dict[str, str] = Field(default_factory=dict)
    rows: dict[str, RowState] = Field(default_factory=dict)

    def with_row(self, key: str, row: RowState) -> "Index":
        """Return the index with a row more; what says less does not take the place of what was found before."""
        now = row.model_copy(update={"at": datetime.now(UTC).isoformat(timespec="seconds")})
        before = self.rows.get(key)
        says_less = before is not None and _WORTH.index(row.state) > _WORTH.index(before.state)
        kept = before if before is not None and says_less else now
        rows = {**self.rows, key: kept}
        return self.model_copy(update={"rows": rows, "date": datetime.now(UTC).date().isoformat()})

    def with_owed(self, table: Iterable[Owed]) -> "Index":
        """Return the index with the state of each owed line."""
        return self.model_copy(update={"owed": {line.what: self._state_of(line) for line in table}})

    def _state_of(self, line: Owed) -> str:
        rows = {key: row for key, row in self.rows.items() if row.section in line.sections}
        if not rows:
            return f"not run: {line.remark}" if line.remark else "not run: no row was begun"
        done = sum(row.state == "measured" for row in rows.values())
        others = "; ".join(f"{key}: {row.state}, {row.why}" for key, row in rows.items() if row.state != "measured")
        said = f"measured: {done} of {len(rows)} rows" if done else f"none of {len(rows)} rows measured"
        return f"{said} ({others})" if others else said

    def same_setting(self, other: "Index") -> bool:
        """Tell whether rows of both belong into one table."""
        mine, others = self.machine, other.machine
        return (mine.card, mine.torch, self.budget_gib) == (others.card, others.torch, other.budget_gib)

    def write(self, path: Path) -> None:
        """Write it whole."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


def taken_up(path: Path, fresh: Index) -> Index:
    """Return the index so far; one of another card, torch or budget is moved aside, and so is one that is no index."""
    if not path.exists():
        return fresh
    try:
        old = Index.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError:
        old = None
    if old is not None and old.same_setting(fresh):
        return old.model_copy(update={"missing": fresh.missing, "machine": fresh.machine})
    aside = path.with_name(f"{path.stem}-before-{datetime.now(UTC):%Y%m%d-%H%M%S}.json")
    path.replace(aside)
    print(f"{path.name} is of another setting, and is now {aside.name}")
    return fresh


def owed_table(text: str) -> list[Owed]:
    """Return the lines of the table below `## GPU rows`: what, sections in backticks, the last cell as a remark.

    Raises:
        ValueError: there is no such table.
    """
    _, found, rest = text.partition(TABLE)
    lines = [line for line in rest.splitlines() if line.startswith("|")][2:]  # less the head
    if not found or not lines:
        raise ValueError(f"no table below `{TABLE}`")
    cells = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return [Owed(row[0], tuple(re.findall(r"`([a-z]+)`", row[1])), row[-1].strip(" |")) for row in cells]


def summary(rows: Mapping[str, RowState]) -> str:
    """Say in a line how many rows are in which state, and for how long the card had nothing to do."""
    counts = {state: sum(row.state == state for row in rows.values()) for state in _WORTH}
    busy = sum(row.seconds or 0 for row in rows.values())
    idle = sum(row.waited or 0 for row in rows.values())
    share = f"; the card waited {idle:.0f} s beside {busy:.0f} s of rows" if busy else ""
    return ", ".join(f"{count} {state}" for state, count in counts.items()) + share
