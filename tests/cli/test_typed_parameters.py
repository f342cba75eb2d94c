"""`--params` as a person types it."""

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from eightgig.cli import cli
from eightgig.cli.typed_parameters import UnreadableParametersError, parse_parameters

TEXT = "sentiment_classifier.predict.text"


def merged(*values):
    """Return what Kedro's configuration has after it merged the parameters."""
    return OmegaConf.to_container(OmegaConf.merge({}, parse_parameters(values)), resolve=True)


def text_of(*values):
    return merged(*values)["sentiment_classifier"]["predict"]["text"]


@pytest.mark.parametrize(
    "typed",
    [
        "To be, or not to be", "1984", "007", "1e5", "true", "2024-01-31", "3.10", "no", "~", "a: b", "x=1, y=2", "{a}",
        "[a, b]", "# not a comment", 'He said "so", and left', "it's", '"So," he said, "or not."', "line\nbreak\ttab",
        "${HOME}", r"a \${b} \\${c} \d", "???", "@you, look", " 100 % ", "中文，好", "x , y", "", "a.b, c",
        "see, e.g., z=1",
    ],
)  # fmt: skip
def test_a_text_is_taken_as_it_is_typed(typed):
    assert text_of(f"{TEXT}={typed}") == typed


@pytest.mark.parametrize(
    ("typed", "meant"), [("null", None), ('"null"', "null"), ("'1984'", "1984"), ('"a, b"', "a, b")]
)
def test_null_is_no_text_and_marks_around_all_of_it_are_yamls(typed, meant):
    assert text_of(f"{TEXT}={typed}") == meant


def test_a_comma_before_a_dotted_name_begins_the_next_parameter():
    found = merged(f"{TEXT}=Good, really: good, sentiment_classifier.train.epochs=2,sentiment_classifier.title=1984")
    assert found["sentiment_classifier"] == {
        "predict": {"text": "Good, really: good"}, "train": {"epochs": 2}, "title": "1984",
    }  # fmt: skip


def test_what_is_no_text_is_yaml_as_before():
    found = merged(
        "image_classifier.data.root=/images/2024, image_classifier.train.learning_rate=1e-3",
        "image_classifier.export.quantize.methods=[minmax, percentile],image_classifier.data.num_images=null",
        "text_generator.generate.stop=[1, no],text_generator.model.config={n_embd: 32, n_layer: 2}",
        "sentiment_classifier.data={num_documents: 6}",
    )
    assert found["image_classifier"] == {
        "data": {"root": "/images/2024", "num_images": None}, "train": {"learning_rate": 0.001},
        "export": {"quantize": {"methods": ["minmax", "percentile"]}},
    }  # fmt: skip
    assert found["text_generator"] == {
        "generate": {"stop": ["1", "no"]},
        "model": {"config": {"n_embd": 32, "n_layer": 2}},
    }
    assert found["sentiment_classifier"] == {"data": {"num_documents": 6}}


def test_a_folder_that_is_called_by_a_number_stays_text():
    assert merged("image_classifier.data.root=2024,image_classifier.model.name=007")["image_classifier"] == {
        "data": {"root": "2024"}, "model": {"name": "007"},
    }  # fmt: skip


def test_what_cannot_be_read_names_the_way_out():
    with pytest.raises(
        UnreadableParametersError, match=r"wanted name=value.*found 'Good'.*kedro run --config run\.yml"
    ):
        parse_parameters(["Good"])
    with pytest.raises(UnreadableParametersError, match=r"there is no case study `my`; there are .*text_generator"):
        parse_parameters([f"{TEXT}=so,my.value=3"])
    with pytest.raises(UnreadableParametersError, match=r"train\.epochs: '\[3' is no value of YAML"):
        parse_parameters(["sentiment_classifier.train.epochs=[3"])


_PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(text=_PLAIN, number=st.integers(1, 99))
def test_any_text_comes_through_beside_a_number(text, number):
    """But one that names another parameter, is all in quotation marks, or is null: those are told above."""
    inner = text.strip()
    if inner == "null" or (inner[:1] in ("'", '"') and inner[-1:] == inner[:1]) or "=" in text:
        return
    found = merged(f"{TEXT}={text},sentiment_classifier.train.epochs={number}")["sentiment_classifier"]
    assert found == {"predict": {"text": text}, "train": {"epochs": number}}


def run_with(*arguments):
    """Return what Kedro's own `run` is called with."""
    run = cli.commands["run"]
    return run.make_context("run", [*arguments]).params["params"]


def test_kedros_run_takes_it_several_times_and_from_a_file(tmp_path):
    assert run_with("--params", f"{TEXT}=a, b", "--params", "sentiment_classifier.train.epochs=3") == {
        "sentiment_classifier": {"predict": {"text": "a, b"}, "train": {"epochs": 3}}
    }
    assert run_with() == {}
    file = tmp_path / "run.yml"
    file.write_text('run:\n  params:\n    sentiment_classifier:\n      predict: {text: "a, my.b=c"}\n')
    assert run_with("--config", str(file)) == {"sentiment_classifier": {"predict": {"text": "a, my.b=c"}}}
    with pytest.raises(click.UsageError, match=r"wanted name=value"):
        run_with("--params", "Good")
