"""What made an output is kept beside it, and an output that the present parameters would not make is told of."""

import logging
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro_datasets.json import JSONDataset
from tests.present import present

from eightgig.core.origin import Origin, fingerprint, read_origin
from eightgig.core.records import Effect, Record
from eightgig.hooks import origins as module
from eightgig.hooks.origins import OriginsHook


class Settings(Record):
    """As Kedro makes them of a node's annotations."""

    times: int
    resume: Annotated[str, Effect.NONE] = "auto"
    batch_size: Annotated[int, Effect.ROUNDING] = 1


def grow(seeds, settings):
    return seeds * settings.times


@pytest.fixture
def garden(tmp_path, monkeypatch):
    """Runs made of two nodes, a.seeds -> a.plants -> a.fruit, as Kedro would run them."""
    monkeypatch.setenv("EIGHTGIG_DATA", str(tmp_path))
    plants = node(grow, ["seeds", "params:plant"], "plants", name="plant")
    fruit = node(grow, ["plants", "params:ripen"], "fruit", name="ripen")
    whole = Pipeline([plants, fruit], namespace="a")
    monkeypatch.setattr(module, "pipelines", {"a": whole})

    def run(*names, times=2, ripe=3, only_missing=False, **settings):
        catalog = DataCatalog(
            {
                "a.seeds": MemoryDataset(1),
                "params:a.plant": MemoryDataset(Settings(times=times, **settings)),
                "params:a.ripen": MemoryDataset(Settings(times=ripe)),
                "a.plants": JSONDataset(filepath=str(tmp_path / "plants.json")),
                "a.fruit": JSONDataset(filepath=str(tmp_path / "fruit.json")),
            }
        )
        hook = OriginsHook()
        context: Any = SimpleNamespace(project_path=str(tmp_path))
        hook.after_context_created(context)
        chosen = whole.filter(node_names=[f"a.{name}" for name in names]) if names else whole
        hook.before_pipeline_run(
            {"pipeline_names": ["a"], "only_missing_outputs": only_missing}, pipeline=chosen, catalog=catalog
        )
        for one in chosen.nodes if not only_missing else ():
            inputs = {name: catalog.load(name) for name in one.inputs}
            for name, value in one.run(inputs).items():
                catalog.save(name, value)
                hook.after_dataset_saved(name, one)

    return run


def warned(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_origins_name_parameters_and_inputs(garden, tmp_path):
    garden()
    origin = present(read_origin(tmp_path / ".origins" / "a.fruit.json"))
    assert (origin.node, origin.parameters) == ("a.ripen", {"ripen.times": "3", "ripen.batch_size": "1"})
    assert origin.inputs == {"plants": fingerprint([tmp_path / "plants.json"])}


def test_nothing_is_stale_after_a_run(garden, caplog):
    garden()
    garden("ripen")
    garden("ripen", resume="never")  # how it was made, not what came out
    assert warned(caplog) == []


def test_another_parameter_makes_what_it_made_stale(garden, caplog):
    garden()
    garden("ripen", times=5)
    (told,) = warned(caplog)
    assert told.startswith("stale, for plant.times is 5, was 2: a.plants. They are taken as they are")


def test_a_whole_run_takes_nothing_stale(garden, caplog):
    garden()
    garden(times=5)
    assert warned(caplog) == []


def test_an_input_that_was_made_anew_makes_its_outputs_stale(garden, caplog):
    garden()
    garden("plant", times=5)
    garden(times=5, only_missing=True)
    (told,) = warned(caplog)
    assert told.startswith("stale, for plants was made anew since: a.fruit.")


def test_with_only_missing_outputs_all_that_is_kept_is_looked_at(garden, caplog):
    garden()
    garden(times=5, only_missing=True)
    (told,) = warned(caplog)
    assert told.startswith("stale, for plant.times is 5, was 2: a.plants, a.fruit.")


def test_what_is_not_known_is_not_told(garden, tmp_path, caplog):
    garden()
    (tmp_path / ".origins" / "a.plants.json").write_text("{")
    garden("ripen", times=5)
    assert warned(caplog) == []


def test_large_files_are_told_apart_by_their_ends(tmp_path):
    path = tmp_path / "large"
    content = bytearray(20 * 2**20)
    names = set()
    for place in (None, 5, len(content) - 5):
        if place is not None:
            content[place] ^= 1
        path.write_bytes(content)
        names.add(fingerprint([path]))
    assert len(names) == 3


def test_changes_are_told_one_by_one():
    origin = Origin(node="n", parameters={"a": "1", "b": "2"}, inputs={"x": "1"}, fingerprint="", eightgig="0")
    assert origin.changes({"a": "1", "c": "3"}, {"x": "2"}) == [
        "b is not there, was 2",
        "c is 3, was not there",
        "x was made anew since",
    ]
