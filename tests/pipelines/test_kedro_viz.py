"""Kedro-Viz shows each case study's data in layers, from raw data down to reports."""

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

managers = pytest.importorskip("kedro_viz.data_access.managers")

pytestmark = pytest.mark.filterwarnings("default", "error:::eightgig")

LAYERS = ["raw", "intermediate", "model_input", "models", "model_output", "reporting"]
CASES = (
    "flower_classifier",
    "image_classifier",
    "object_detector",
    "semantic_segmenter",
    "sentiment_classifier",
    "text_generator",
    "cartpole_agent",
    "gpu_guide",
)


@pytest.fixture(scope="module")
def shown(project_path):
    """What Kedro-Viz holds of the project, as it is without a browser."""
    bootstrap_project(project_path)
    with KedroSession.create(project_path=project_path, env="ci") as session:
        assert isinstance(session, KedroSession)
        catalog = session.load_context().catalog
    manager = managers.DataAccessManager()
    manager.add_catalog(catalog, dict(pipelines))
    manager.add_pipelines(dict(pipelines))
    return manager


def layers_of(shown, case):
    return {node.layer for node in shown.get_nodes_for_registered_pipeline(case) if node.type == "data"}


@pytest.mark.parametrize("case", CASES)
def test_layers_stand_in_their_order(shown, case):
    # None at all where layers go round in a circle; those of other cases are among them, and are not drawn.
    found = [
        layer for layer in shown.get_sorted_layers_for_registered_pipeline(case) if layer in layers_of(shown, case)
    ]
    assert found == [layer for layer in LAYERS if layer in found]
    assert len(found) >= 2


@pytest.mark.parametrize("case", CASES)
def test_nothing_stands_above_its_layer(shown, case):
    """Kedro-Viz puts what has no layer at the top, as what training keeps beside: checkpoints, a tracker."""
    assert layers_of(shown, case) <= set(LAYERS)


def test_what_training_keeps_stands_beside_the_network(shown):
    layers = {
        node.name: getattr(node, "layer", None) for node in shown.get_nodes_for_registered_pipeline("__default__")
    }
    beside = ("checkpoints", "tracker", "flight_recorder", "weights")
    assert {layers[f"flower_classifier.{name}"] for name in beside} == {"models"}
