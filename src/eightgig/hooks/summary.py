"""What a run made, said at its end: the figures that count, where the page lies, and what can be done next."""

from collections.abc import Iterator, Sequence
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
# Answers of stages that a person asks something, and what of each is shown: rows, or a record's own words.
_ANSWERS = ("predict_table", "generation_table", "video_report", "tiles_report")
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
            for line in self._page(made, pipeline, index) if made.name == "report" else _answer(made):
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


def _answer(made: _Made) -> Iterator[Any]:
    yield f"[bold]{made.case}: {made.name.rpartition('_')[0]}"
    if hasattr(made.data, "columns"):
        yield from _first_rows(made.data)
    else:
        figures = _columns()
        for name, value in _plain(made.data):
            figures.add_row(name, value)
        yield figures
    yield f"[bold]all of it[/] {_near(made.path)}"


def _first_rows(table: Any) -> Iterator[Any]:
    rows = Table(box=None, pad_edge=False)
    for column in table.columns:
        rows.add_column(str(column).replace("_", " "), overflow="fold")
    for values in table.head(_ROWS).itertuples(index=False):
        rows.add_row(*map(_shown, values))
    yield rows
    if len(table) > _ROWS:
        yield f"and {len(table) - _ROWS:,} more"


def _plain(record: Any) -> Sequence[tuple[str, str]]:
    """Return the fields of a record that are one value each."""
    values = record.model_dump()
    return [(name, _shown(value)) for name, value in values.items() if isinstance(value, str | int | float)]


def _near(path: Path) -> str:
    """Return a path as it is typed from here."""
    here = Path.cwd()
    return escape(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _columns() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _shown(value: Any) -> str:
    return escape(shown(value))
