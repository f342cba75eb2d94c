"""How a stage's function becomes a node that knows its case."""

from importlib import import_module
from inspect import signature
from typing import get_type_hints

import pytest
from kedro.validation import TypeExtractor

from eightgig.cli.typed_parameters import case_names
from eightgig.core.errors import ConfigurationError
from eightgig.data.images.parameters import DataParameters
from eightgig.stages.task import Records, case_pipeline, stage_node, stage_pipeline
from eightgig.training.parameters import TrainParameters


def records_in(pipeline):
    return TypeExtractor({"": pipeline}).extract_types_from_pipelines()


class LoudParameters(DataParameters):
    loudness: int = 11


RECORDS: Records = {"data": LoudParameters, "train": TrainParameters}


class Loud:
    def shout(self, word):
        return word.upper()


def speak(case, word: str, data: DataParameters) -> str:
    return case.shout(word) + data.source


def listen(word: str, data: DataParameters) -> str:
    return word + data.source


def speaking(**more):
    return stage_node(speak, {"word": "word", "data": "params:data"}, "said", task=Loud(), **more)


def test_a_node_is_named_after_its_function_and_calls_it_with_the_case():
    for node in (speaking(), speaking(records=RECORDS)):
        assert node.name == "speak"
        assert node.run({"word": "ha", "params:data": DataParameters()}) == {"said": "HArendered"}


def test_stages_share_datasets_and_cases_do_not():
    first = stage_pipeline("first", [stage_node(speak, {"word": "a", "data": "params:data"}, "b", task=Loud())])
    whole = case_pipeline("shouting", [first])
    assert [node.name for node in whole.nodes] == ["shouting.first.speak"]
    assert whole.inputs() == {"shouting.a", "params:shouting.data"}
    assert whole.outputs() == {"shouting.b"}
    assert [node.name for node in whole.only_nodes_with_tags("first").nodes] == ["shouting.first.speak"]


def test_a_parameter_is_read_as_the_record_that_is_given_by_its_name():
    node = speaking(records=RECORDS)
    assert get_type_hints(node.func)["data"] is LoudParameters
    assert [*signature(node.func).parameters] == ["word", "data"]
    assert records_in(stage_pipeline("first", [node])) == {"data": LoudParameters}
    assert node.func.__doc__ == speak.__doc__


def test_the_stages_function_keeps_the_general_record():
    speaking(records=RECORDS)
    assert get_type_hints(speak)["data"] is DataParameters
    assert records_in(stage_pipeline("first", [speaking()])) == {"data": DataParameters}


def test_a_node_without_a_task_is_given_records_likewise():
    node = stage_node(listen, {"word": "word", "data": "params:data"}, "heard", records=RECORDS)
    assert records_in(stage_pipeline("first", [node])) == {"data": LoudParameters}
    assert node.run({"word": "ha", "params:data": LoudParameters()}) == {"heard": "harendered"}


def test_records_are_of_parameters_not_of_datasets_of_their_names():
    node = stage_node(speak, {"word": "word", "data": "data"}, "said", task=Loud(), records=RECORDS)
    assert get_type_hints(node.func)["data"] is DataParameters


def test_two_records_for_one_parameter_are_refused_by_the_names_of_their_nodes():
    first = stage_pipeline("first", [speaking(records=RECORDS)])
    second = stage_pipeline("second", [stage_node(listen, {"word": "said", "data": "params:data"}, "heard")])
    with pytest.raises(ConfigurationError) as caught:
        case_pipeline("shouting", [first, second])
    assert str(caught.value) == (
        "parameter `shouting.data`: wanted one record for all nodes, found LoudParameters in "
        "node `shouting.first.speak` and DataParameters in node `shouting.second.listen`. Give both nodes the same "
        "`records`."
    )


def test_one_record_for_one_parameter_goes_through():
    inputs = {"word": "said", "data": "params:data"}
    nodes = [speaking(records=RECORDS), stage_node(listen, inputs, "heard", records=RECORDS)]
    whole = case_pipeline("shouting", [stage_pipeline(node.name, [node]) for node in nodes])
    assert records_in(whole) == {"shouting.data": LoudParameters}


@pytest.mark.parametrize("case", case_names())
def test_kedro_can_read_what_every_node_of_a_case_declares(case, caplog):
    pipeline = import_module(f"eightgig.pipelines.{case}").create_pipeline()
    groups = {name.removeprefix(f"params:{case}.") for name in pipeline.inputs() if name.startswith("params:")}
    named = {name.removeprefix(f"{case}.") for name in records_in(pipeline)}
    plain = {"title", "generate.precision"} | ({"model"} if case == "gpu_guide" else set())  # texts need no record
    assert groups - named <= plain
    assert caplog.records == []
