"""What a run made, said at its end: the figures that count, where the page lies, and what can be done next."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from rich.markup import escape
from rich.table import Table

from eightgig.core.console import wide_console
from eightgig.hooks.run_page import shown
from eightgig.report.index import write_index

_ROWS = 5  # of a table of answers: enough to see that they are right
# Answers of stages that a person asks something, and the stage: a table, a record of texts, or one of figures.
_ANSWERS = {"predict_table": "predict", "generated": "generate", "video_report": "video", "tiles_report": "tiles"}
# What a trained network is asked by, in the order of what is easiest to type.
_ASKED_BY = {"prompt": '"To be, or not to be"', "text": '"What a film!"', "source": "FOLDER"}


class _Made(NamedTuple):
    case: str
    name: str
    data: Any
    path: Path


class SummaryHook:
    """Keeps the page and the answers that a run saves, and prints them when it has ended well."""

    def __init__(self) -> None:
        self._catalog: DataCatalog | None = None
        self._made: list[_Made] = []

    @hook_impl
    def before_pipeline_run(self, catalog: DataCatalog) -> None:
        """Begin anew."""
        self._catalog, self._made = catalog, []

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Keep what a person wants to see."""
        case, _, name = dataset_name.partition(".")
        if name == "report" or name in _ANSWERS:
            dataset: Any = self._catalog.get(dataset_name) if self._catalog is not None else None
            self._made.append(_Made(case, name, data, Path(str(getattr(dataset, "_filepath", "")))))

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Print pages; of a run without one, the answers."""
        console = wide_console(highlight=False)
        pages = [made for made in self._made if made.name == "report"]
        index = write_index(pages[0].path.parent.parent) if pages and pages[0].path.is_file() else None
        for made in pages or self._made:
            console.print()
            for line in self._page(made, pipeline, index) if made.name == "report" else self._answer(made):
                # A command or a path that is broken over two lines cannot be copied.
                console.print(line, soft_wrap=isinstance(line, str))
        self._made = []

    def _page(self, made: _Made, pipeline: Pipeline, index: Path | None) -> Iterator[Any]:
        figures = _columns()
        for fact in made.data.headline:
            figures.add_row(f"[bold]{escape(fact.label)}", f"[bold green]{_shown(fact.value)}", escape(fact.note))
        yield f"[bold]{escape(made.data.title)}[/] ({made.case})"
        yield figures
        yield f"[bold]page[/]  {_near(made.path)}"
        if index is not None:
            yield f"      {_near(index)} has all pages"
        for number, command in enumerate(self._next(made.case, pipeline)):
            yield f"{'    ' if number else '[bold]next[/]'}  {command}"

    def _answer(self, made: _Made) -> Iterator[Any]:
        catalog: Any = self._catalog
        rows, stage = _rows_of(made.data), _ANSWERS[made.name]
        yield f"[bold]{made.case}: {stage}[/]" + (f", {len(rows):,} rows" if rows else "")
        if rows:
            yield from _first_rows(rows)
        elif hasattr(made.data, "model_dump"):
            figures = _columns()
            for name, value in _plain(made.data):
                figures.add_row(name, value)
            yield figures
        yield f"[bold]all of it[/] {_near(made.path)}"
        folder = f"{made.case}.{stage}_folder"  # of films and drawn images
        if folder in catalog:
            yield f"[bold]files in[/]  {_near(Path(str(catalog.get(folder)._filepath)))}"

    def _next(self, case: str, pipeline: Pipeline) -> Iterator[str]:
        catalog: Any = self._catalog
        for tag in ("predict", "generate"):
            name = f"params:{case}.{tag}"
            if any(tag in node.tags for node in pipeline.nodes) and catalog is not None and name in catalog:
                fields: Any = getattr(type(catalog.load(name)), "model_fields", {})
                for field in (field for field in _ASKED_BY if field in fields):
                    asked = f"{case}.{tag}.{field}={_ASKED_BY[field]}"
                    yield f"kedro run --pipelines {case} --tags {tag} --params {asked}"
                    break
        yield "kedro viz run"
        yield "mlflow ui --backend-store-uri sqlite:///mlflow.db"


def _first_rows(rows: Sequence[Mapping[Any, Any]]) -> Iterator[Any]:
    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(str(column).replace("_", " "), overflow="fold")
    for row in rows[:_ROWS]:
        table.add_row(*map(_shown, row.values()))
    yield table
    if len(rows) > _ROWS:
        yield f"and {len(rows) - _ROWS:,} more"


def _rows_of(data: Any) -> list[dict[Any, Any]]:
    """Return the rows of a table, or the texts of a record that has some."""
    if hasattr(data, "columns"):
        return list(data.to_dict("records"))
    return [text.model_dump() for text in getattr(data, "texts", ())]


def _plain(record: Any) -> Iterator[tuple[str, str]]:
    """Yield the fields of a record that are one value each, or a few by name, such as what was found of each class."""
    for name, value in record.model_dump().items():
        if isinstance(value, str | int | float):
            yield name, _shown(value)
        elif isinstance(value, dict) and value and all(isinstance(each, int | float) for each in value.values()):
            first = ", ".join(f"{escape(str(key))} {_shown(each)}" for key, each in [*value.items()][:_ROWS])
            yield name, first + (f" and {len(value) - _ROWS} more" if len(value) > _ROWS else "")


def _near(path: Path) -> str:
    """Return a path as it is typed from here."""
    here = Path.cwd()
    return escape(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _columns() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _shown(value: Any) -> str:
    return escape(shown(value))
