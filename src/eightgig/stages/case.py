"""What a case study brings to the stages, and how stages become one pipeline."""

from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any, Protocol

from kedro.pipeline import Node, Pipeline
from kedro.pipeline import node as kedro_node

from eightgig.datasets.weights import WeightsCard
from eightgig.models.compression import Shapes
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import Batches, Classifier, ImageStore, Objective, WorkloadSpec
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import Precision


class Case(Protocol):
    """Only what differs between case studies; `pipelines/<case>/nodes.py` has one object of this shape."""

    def build_network(self, model: ModelParameters, num_classes: int) -> Classifier:
        """Give the network, with the weights it starts from."""

    def workload(
        self,
        model: ModelParameters,
        num_classes: int,
        train: TrainParameters,
        *,
        shapes: Shapes | None = None,
        teacher: str | None = None,
        precision: Precision = "fp32",
    ) -> WorkloadSpec:
        """Say where the memory planner's child process finds what this case trains.

        Args:
            model: whatever weights it names play no part.
            num_classes: of the head.
            train: the recipe.
            shapes: of the weights of a network that channels were removed from.
            teacher: name of the network that it learns from.
            precision: that the teacher computes in.
        """

    def objective(self, network: Classifier, train: TrainParameters) -> Objective:
        """Give the loss and the score."""

    def train_batches(
        self, store: ImageStore, indices: Iterable[int], *, image_size: int, batch_size: int, train: TrainParameters
    ) -> Batches:
        """Give the augmented batches of an epoch, shuffled."""

    def eval_batches(self, store: ImageStore, indices: Iterable[int], *, image_size: int, batch_size: int) -> Batches:
        """Give batches without augmentation, in order."""

    def eval_picture(self, image_HWC: Any, *, image_size: int) -> Any:
        """Give one picture (uint8, any size) as `eval_batches` would: a uint8 tensor, 3 x image_size x image_size."""

    def inputs(self, card: WeightsCard, batch: Any) -> Any:
        """Give a batch as the network's float32 input, normalised as its card says."""


def stage_node(function: Callable[..., Any], inputs: dict[str, str], outputs: Any, *, case: Case | None = None) -> Node:
    """Make a node of a stage's function, named after it; `case`, where given, becomes its first argument."""
    bound = MethodType(function, case) if case is not None else function
    return kedro_node(bound, inputs=inputs, outputs=outputs, name=function.__name__)


def stage_pipeline(name: str, nodes: list[Node]) -> Pipeline:
    """Make a stage: a namespace of its own in the graph, a tag to run it by; all stages share their datasets' names."""
    return Pipeline(nodes, namespace=name, prefix_datasets_with_namespace=False, tags=[name])


def case_pipeline(name: str, stages: Iterable[Pipeline]) -> Pipeline:
    """Sum the stages under the case study's name, which becomes the prefix of all datasets and parameters."""
    return Pipeline(sum(stages, Pipeline([])), namespace=name)
