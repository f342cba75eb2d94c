"""How a stage's function becomes a node that knows its case."""

from typing import get_type_hints

from eightgig.data.images.parameters import DataParameters
from eightgig.stages.task import case_pipeline, stage_node, stage_pipeline


class LoudParameters(DataParameters):
    loudness: int = 11


RECORDS = {DataParameters: LoudParameters}


class Loud:
    records = RECORDS

    def shout(self, word):
        return word.upper()


def speak(case, word: str, data: DataParameters) -> str:
    return case.shout(word) + data.source


def test_a_node_is_named_after_its_function_and_calls_it_with_the_case():
    node = stage_node(speak, {"word": "word", "data": "params:data"}, "said", task=Loud())
    assert node.name == "speak"
    assert node.run({"word": "ha", "params:data": DataParameters()}) == {"said": "HArendered"}


def test_stages_share_datasets_and_cases_do_not():
    first = stage_pipeline("first", [stage_node(speak, {"word": "a", "data": "params:data"}, "b", task=Loud())])
    whole = case_pipeline("shouting", [first])
    assert [node.name for node in whole.nodes] == ["shouting.first.speak"]
    assert whole.inputs() == {"shouting.a", "params:shouting.data"}
    assert whole.outputs() == {"shouting.b"}
    assert [node.name for node in whole.only_nodes_with_tags("first").nodes] == ["shouting.first.speak"]


def test_kedro_checks_a_cases_own_parameters_in_place_of_the_general_ones():
    node = stage_node(speak, {"word": "word", "data": "params:data"}, "said", task=Loud())
    assert get_type_hints(node.func)["data"] is LoudParameters
    assert get_type_hints(speak)["data"] is DataParameters
    assert node.func.__doc__ == speak.__doc__
