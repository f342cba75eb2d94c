"""Metadata of ONNX files that somebody wrote: no entry brings anything but the project's own error."""

import pytest

from eightgig.core.errors import ExportError
from eightgig.export.card import ModelCard
from eightgig.export.precision import names_in

GOOD = {"model": "m", "classes": '["a"]', "weights_sha256": "0", "mean": "[0,0,0]", "std": "[1,1,1]", "image_size": "8"}
DEEP, LONG = "[" * 100_000, "9" * 5_000


def test_a_card_is_read():
    assert ModelCard.from_metadata(GOOD).classes == ("a",)


@pytest.mark.parametrize("name", ["classes", "mean", "image_size"])
@pytest.mark.parametrize("value", ["", "{", "null", "NaN", DEEP, LONG, '"\\ud800"'])
def test_an_entry_that_is_something_else(name, value):
    with pytest.raises(ExportError, match="wanted an ONNX file with the card of a network"):
        ModelCard.from_metadata(GOOD | {name: value})


def test_a_name_that_is_no_text():
    """As protobuf gives one that is no UTF-8."""
    with pytest.raises(ExportError, match="found classes, b'model'"):
        ModelCard.from_metadata({"classes": '["a"]', b"model": "m"})  # type: ignore[dict-item]  # as a file may have it


@pytest.mark.parametrize("value", ["", "{", "{}", "null", DEEP, LONG])
def test_a_list_of_names_that_is_none(value):
    with pytest.raises(ExportError, match="wanted a JSON list of names in the card's `float32_nodes`"):
        names_in({"float32_nodes": value}, "float32_nodes")
