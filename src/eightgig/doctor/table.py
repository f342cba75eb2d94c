"""The doctor's findings for a person (a table) and for a pipe (a line each)."""

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eightgig.doctor import Diagnosis
from eightgig.doctor.advice import Advice, Status

# The end of the text is what a person sees in a terminal, so what matters most comes last.
_MARKS: dict[Status, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "note": ("note", "cyan"),
    "warning": ("warning", "yellow"),
    "problem": ("PROBLEM", "bold red"),
}


def lines(diagnosis: Diagnosis) -> list[str]:
    """Return one line a finding, the summary and the outlook."""
    findings = [f"{_MARKS[advice.status][0]:<7} {advice.sentence()}" for advice in _by_weight(diagnosis)]
    return [*findings, summary(diagnosis), diagnosis.outlook]


def table(diagnosis: Diagnosis) -> Group:
    """Return the findings as a table: how it stands, the code, what it is about, what is, wanted and to do."""
    grid = Table.grid(padding=(0, 2))
    for _ in range(3):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for advice in _by_weight(diagnosis):
        word, style = _MARKS[advice.status]
        grid.add_row(Text(word, style), Text(advice.code, "dim"), Text(advice.title), _cell(advice, style))
    verdict = Text(summary(diagnosis), "bold red" if diagnosis.has_problems else "bold")
    return Group(grid, Padding(Group(verdict, Text(diagnosis.outlook)), (1, 0, 0, 0)))


def summary(diagnosis: Diagnosis) -> str:
    """Count what is serious, and name it."""
    counted = []
    for status, word in (("problem", "problem"), ("warning", "warning")):
        codes = [advice.code for advice in diagnosis.advice if advice.status == status]
        if codes:
            counted.append(f"{len(codes)} {word}{'s' if len(codes) > 1 else ''} ({', '.join(codes)})")
    return f"{', '.join(counted) or 'No problems, no warnings'}. Each code is explained in docs/doctor.md."


def _by_weight(diagnosis: Diagnosis) -> list[Advice]:
    return sorted(diagnosis.advice, key=lambda advice: list(_MARKS).index(advice.status))


def _cell(advice: Advice, style: str) -> Text:
    """What is, in plain; what is wanted, dim; what to do, on a line of its own."""
    cell = Text(advice.what_is)
    cell.append(f" · wanted: {advice.wanted}", "dim")
    if advice.to_do:
        cell.append("\nto do: ", style).append(advice.to_do)
    return cell
