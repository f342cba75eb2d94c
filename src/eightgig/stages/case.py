"""What a case study brings to the stages, and how stages become one pipeline."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any, Protocol

from kedro.pipeline import Node, Pipeline
from kedro.pipeline import node as kedro_node

from eightgig.core.records import Record
from eightgig.datasets.weights import WeightsCard
from eightgig.models.compression import Shapes
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import Batches, ImageStore, Network, Objective, SoftLoss, Task, WorkloadSpec
from eightgig.vram.plan import Precision

Records = Mapping[type[Record], type[Record]]
"""General parameter records, and those that a case has in their place."""


class Case(Protocol):
    """Only what differs between case studies; `pipelines/<case>/nodes.py` has one object of this shape.

    `train` is of the class that `records` names for TrainParameters.
    """

    @property
    def records(self) -> Records:
        """The case's own parameter records."""

    def build_network(self, model: ModelParameters, num_classes: int) -> Network:
        """Give the network, with the weights it starts from."""

    def prepare(self, network: Network, store: ImageStore, indices: list[int], *, image_size: int, train: Any) -> None:
        """Fit to the training samples what of the network is not learnt by gradients, in place."""

    def workload(
        self,
        model: ModelParameters,
        num_classes: int,
        train: Any,
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

    def objective(self, network: Network, train: Any) -> Objective:
        """Give the loss and the score."""

    def soft_loss(self) -> SoftLoss | None:
        """Give how far a student's outputs are from its teacher's; None compares logits."""

    def train_batches(
        self, store: ImageStore, indices: Iterable[int], *, image_size: int, batch_size: int, train: Any
    ) -> Batches:
        """Give the augmented batches of an epoch, shuffled."""

    def eval_batches(self, store: ImageStore, indices: Iterable[int], *, image_size: int, batch_size: int) -> Batches:
        """Give batches without augmentation, in order."""

    def eval_picture(self, image_HWC: Any, *, image_size: int) -> Any:
        """Give one picture (uint8, any size) as `eval_batches` would: a uint8 tensor, 3 x image_size x image_size."""

    def inputs(self, card: WeightsCard, batch: Any) -> Any:
        """Give a batch as the network's float32 input, normalised as its card says."""

    def deployed(self, network: Network) -> Any:
        """Give the module that is exported and measured: from `inputs` to the task's output."""

    def task(self, classes: Sequence[str]) -> Task:
        """Give how the deployed module's outputs are read and judged."""

    def truths(self, batch: Any) -> list[Any]:
        """Give what is right for each sample of an evaluation batch, as the task wants it."""


def stage_node(
    function: Callable[..., Any], inputs: dict[str, str], outputs: Any, *, case: Any = None, name: str | None = None
) -> Node:
    """Make a node of a stage's function, named after it; `case`, where given, becomes its first argument."""
    bound = MethodType(_with_records_of(case, function), case) if case is not None else function
    return kedro_node(bound, inputs=inputs, outputs=outputs, name=name or function.__name__)


def _with_records_of(case: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the function with the case's own records in its annotations: Kedro checks parameters by them."""
    records = getattr(case, "records", {})
    own = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    own.__kwdefaults__, own.__doc__, own.__module__ = function.__kwdefaults__, function.__doc__, function.__module__
    own.__annotations__ = {
        name: records.get(kind, kind) if isinstance(kind, type) else kind
        for name, kind in function.__annotations__.items()
    }
    return own


def stage_pipeline(name: str, nodes: list[Node]) -> Pipeline:
    """Make a stage: a namespace of its own in the graph, a tag to run it by; all stages share their datasets' names."""
    return Pipeline(nodes, namespace=name, prefix_datasets_with_namespace=False, tags=[name])


def case_pipeline(name: str, stages: Iterable[Pipeline]) -> Pipeline:
    """Sum the stages under the case study's name, which becomes the prefix of all datasets and parameters."""
    return Pipeline(sum(stages, Pipeline([])), namespace=name)
