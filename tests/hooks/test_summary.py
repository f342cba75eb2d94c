"""The end of a run: its figures, its page, what comes next; of a run that only answers, the answers."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from kedro.pipeline import Pipeline, node

from eightgig.core.records import Record
from eightgig.datasets.media import PageDataset
from eightgig.hooks.summary import SummaryHook
from eightgig.report.page import Fact, Page


class Asked(Record):
    source: str | None = None


class Tiles(Record):
    source: str
    num_tiles: int
    found: dict[str, float]


class Text(Record):
    prompt: str
    text: str


class Texts(Record):
    texts: tuple[Text, ...]
    seconds: float


class Catalog(dict):
    def load(self, name):
        return self[name]


def pipeline_of(*tags):
    return Pipeline([node(lambda: 1, None, f"{tag}_table", tags=[tag], name=tag) for tag in tags])


@pytest.fixture
def ended(capsys):
    def run(saved: dict[str, Any], pipeline=None, folders=()) -> list[str]:
        hook: Any = SummaryHook()
        files = {name: SimpleNamespace(_filepath=f"data/{name}") for name in [*saved, *folders]}
        hook.before_pipeline_run(catalog=Catalog({**files, "params:net.predict": Asked()}))
        for name, data in saved.items():
            hook.after_dataset_saved(dataset_name=name, data=data)
        hook.after_pipeline_run(pipeline=pipeline or pipeline_of("predict"))
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return run


def page():
    facts = [Fact("Accuracy", "94.2 %", "on 78 test images"), Fact("Recommended on this CPU", "int8", "[1] ms")]
    return Page("Flowers", "five kinds", headline=facts, sections=[])


def test_a_run_with_a_page_ends_with_its_figures_the_page_and_what_comes_next(ended):
    lines = ended({"net.report": page(), "net.predict_table": pd.DataFrame({"image": ["a.jpg"]}), "net.metrics": 1})
    assert lines == [
        "",
        "Flowers (net)",
        "Accuracy                 94.2 %  on 78 test images",
        "Recommended on this CPU  int8    [1] ms",
        "page  data/net.report",
        "next  kedro run --pipelines net --tags predict --params net.predict.source=FOLDER",
        "      kedro viz run",
        "      mlflow ui --backend-store-uri sqlite:///mlflow.db",
    ]


def test_the_page_over_all_pages_is_made_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "08_reporting" / "net" / "report.html"
    PageDataset(filepath=str(path)).save(page())
    hook: Any = SummaryHook()
    hook.before_pipeline_run(catalog=Catalog({"net.report": SimpleNamespace(_filepath=str(path))}))
    hook.after_dataset_saved(dataset_name="net.report", data=page())
    hook.after_pipeline_run(pipeline=pipeline_of("train"))
    assert "      08_reporting/index.html has all pages" in capsys.readouterr().out.splitlines()
    assert (tmp_path / "08_reporting" / "index.html").is_file()


def test_a_case_that_cannot_be_asked_names_no_command_for_it(ended):
    assert not any("--tags" in line for line in ended({"net.report": page()}, pipeline_of("train")))


def test_a_stage_that_answers_prints_the_first_answers_and_where_the_rest_lies(ended):
    table = pd.DataFrame({"image": [f"{number}.jpg" for number in range(7)], "probability": [0.98765] * 7})
    lines = ended({"net.predict_table": table})
    assert lines[1] == "net: predict, 7 rows"
    assert lines[2].split() == ["image", "probability"]
    assert lines[3].split() == ["0.jpg", "0.9877"]
    assert lines[-2:] == ["and 2 more", "all of it data/net.predict_table"]
    assert len(lines) == 10


def test_a_text_of_brackets_is_shown_as_it_is(ended):
    assert "[bold] and [/]" in "\n".join(ended({"net.predict_table": pd.DataFrame({"text": ["[bold] and [/]"]})}))


def test_a_record_shows_its_plain_fields(ended):
    found = {"road": 0.5, **{f"class {number}": 0.01 for number in range(6)}}
    lines = ended(
        {"net.tiles_report": Tiles(source="BIG.tif", num_tiles=1200, found=found)}, folders=["net.tiles_folder"]
    )
    assert lines[1:] == [
        "net: tiles",
        "source     BIG.tif",
        "num_tiles  1200",
        "found      road 0.5, class 0 0.01, class 1 0.01, class 2 0.01, class 3 0.01 and 2 more",
        "all of it data/net.tiles_report",
        "files in  data/net.tiles_folder",
    ]


def test_written_texts_are_shown_themselves_and_not_how_fast_they_came(ended):
    texts = tuple(Text(prompt="To be", text=f" or {number}") for number in range(6))
    lines = ended(
        {"net.generated": Texts(texts=texts, seconds=1.5), "net.generation_table": pd.DataFrame({"cache": [1]})}
    )
    assert lines[1] == "net: generate, 6 rows"
    assert lines[2].split() == ["prompt", "text"]
    assert lines[3].split() == ["To", "be", "or", "0"]
    assert lines[-2:] == ["and 1 more", "all of it data/net.generated"]
    assert "cache" not in " ".join(lines)


def test_a_run_that_makes_nothing_to_look_at_says_nothing(ended):
    assert ended({"net.store": 1}) == []
