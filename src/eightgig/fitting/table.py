"""The answer for a terminal: one table, a card a row, and what would make it fit below."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eightgig.fitting.answer import CardAnswer, FitAnswer, FitVerdict, Lever

STYLES: dict[FitVerdict, str] = {"fits": "green", "barely": "yellow", "no": "bold red"}
_THEN: dict[FitVerdict, str] = {"fits": "then it fits", "barely": "then it fits barely", "no": "not enough alone"}
_ROUNDS_UP = 0.9995  # 999.95 M are 1 B in three digits


def rendered(answer: FitAnswer, *, explain: bool = False) -> Group:
    """Return the answer for rich.

    Args:
        answer: to show.
        explain: whether findings, reasons and the method are told too.
    """
    parts: list[RenderableType] = [Text(headline(answer), "bold"), _table(answer), *_below(answer)]
    if explain:
        parts += _explained(answer)
    return Group(*parts)


def headline(answer: FitAnswer) -> str:
    """Return what was asked, in one line."""
    count = f", {size_of(answer.num_parameters)} parameters" if answer.num_parameters else ""
    question = answer.question
    optimizer = f", {question.optimizer}" if question.task != "infer" else ""
    return f"{answer.name}{count}: {question.task}, {answer.batch} x {answer.sample}{optimizer}"


def columns(answer: FitAnswer) -> list[str]:
    """Return the heads of the columns that this answer has."""
    longest = ["tokens up to"] if any(row.longest_context for row in answer.rows) else []
    largest = ["batch up to"] if any(row.largest_batch for row in answer.rows) else []
    return ["card", "GiB", "fits?", "needs GiB", "how", "a step", "limit", *largest, *longest]


def cells(answer: FitAnswer, row: CardAnswer) -> list[str]:
    """Return a row's cells, for these columns."""
    shown = columns(answer)
    counts = {"batch up to": row.largest_batch, "tokens up to": row.longest_context}
    return [
        row.card,
        f"{row.usable_gib:g}",
        row.verdict,
        row.needs,
        row.how or "-",
        duration(row.seconds_per_step),
        row.limit or "-",
        *(f"~{counts[name]:,}" if counts[name] else "-" for name in shown if name in counts),
    ]


def lever_line(lever: Lever) -> str:
    """Return what a lever saves, how, and for what."""
    then = "" if lever.then is None else f" -> {_THEN[lever.then]}"
    needs = "" if lever.then_gib is None else f", {lever.then_gib:.1f} GiB"
    return f"{lever.saves_gib:6.1f} GiB  {lever.how} (costs: {lever.costs}){then}{needs}"


def size_of(num_parameters: int) -> str:
    """Write a number of parameters: `25.6 M`, `1.54 B`."""
    for name, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if num_parameters >= _ROUNDS_UP * size:
            return f"{num_parameters / size:.3g} {name}"
    return str(num_parameters)


def duration(seconds: float | None) -> str:
    """Write a time that is a prediction: `~65 ms`, `~1.2 s`."""
    if seconds is None:
        return "-"
    return f"~{seconds * 1000:.2g} ms" if seconds < 0.1 else f"~{seconds:.2g} s"


def _table(answer: FitAnswer) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns(answer):
        table.add_column(name, no_wrap=name != "how")
    for row in answer.rows:
        card, memory, verdict, *others = cells(answer, row)
        table.add_row(card, memory, Text(verdict, STYLES[row.verdict]), *others)
    return table


def _below(answer: FitAnswer) -> list[RenderableType]:
    short = [row for row in answer.rows if row.levers]
    if not short:
        return [Text(note, "dim") for note in answer.notes]
    smallest = min(short, key=lambda row: row.usable_gib)
    missing = smallest.upper_gib - smallest.usable_gib
    title = f"\nWhat would make it fit the {smallest.card}, which is short of {missing:.1f} GiB (savings overlap):"
    return [Text(title, "bold"), *(Text(lever_line(lever)) for lever in smallest.levers), *map(Text, answer.notes)]


def _explained(answer: FitAnswer) -> list[RenderableType]:
    lines = [f"{row.card}: {said}" for row in answer.rows for said in (*row.findings, row.why) if said]
    how = f"How it was found: {answer.method}. A need is given as its middle and the end that 95 % of runs stay below."
    return [Text(""), *map(Text, lines), Text(how, "dim")]
