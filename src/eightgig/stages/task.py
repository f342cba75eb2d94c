"""What a task brings to the stages, and how stages become one pipeline."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from types import MethodType
from typing import Any, ClassVar

from kedro.pipeline import Node, Pipeline
from kedro.pipeline import node as kedro_node
from kedro.validation import TypeExtractor

from eightgig.core.addresses import address_of
from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.models.cards import WeightsCard
from eightgig.models.compression import Shapes
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import Batches, Evaluator, Network, Objective, SoftLoss, WorkloadSpec
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import Precision

Records = Mapping[str, type[Record]]
"""What each group of a task's parameters is read as, by the group's name: `model` for `params:model`."""


@dataclass(frozen=True)
class TrainingSamples:
    """What a network is trained on.

    Attributes:
        store: that holds the samples.
        indices: of those to train on.
        size: of a sample, in pixels a side or in tokens.
        train: the recipe, of the task's own record.
    """

    store: Any
    indices: list[int]
    size: int
    train: Any


class TaskData(ABC):
    """How samples become batches, and inputs of the network.

    A sample's size is in pixels a side, or in tokens. Stores and batches are of the task's own classes.
    """

    @abstractmethod
    def num_outputs(self, store: Any) -> int:
        """Return how many classes the network tells apart; of a language model, the size of its vocabulary."""

    @abstractmethod
    def train_batches(self, store: Any, indices: Iterable[int], *, size: int, batch_size: int, train: Any) -> Batches:
        """Return the augmented batches of an epoch, shuffled."""

    @abstractmethod
    def eval_batches(
        self, store: Any, indices: Iterable[int], *, size: int, batch_size: int, num_workers: int = 0
    ) -> Batches:
        """Return batches without augmentation, in order, the same with any number of processes that load them."""

    @abstractmethod
    def dummy_batch(self, model: Any, num_samples: int) -> dict[str, Any]:
        """Return a training batch of zeros on torch's default device, of the full size: what the planner traces."""

    @abstractmethod
    def inputs(self, card: Any, batch: Any) -> dict[str, Any]:
        """Return a batch as tensors by the names of the export module's inputs, as its card says."""

    @abstractmethod
    def sample_input(self, card: Any, store: Any, index: int) -> dict[str, Any]:
        """Return one stored sample as `inputs` would, from what a user would bring: an image's bytes, a text."""

    @abstractmethod
    def dummy_input(self, card: Any) -> dict[str, Any]:
        """Return one empty sample of the full size, as `inputs` would."""

    def dynamic_axes(self) -> Mapping[int, str]:
        """Return the axes of the inputs that may have any length, with their names; the batch among them."""
        return {0: "batch"}

    def check_store(self, card: Any, store: Any) -> None:  # noqa: B027 - a network may read any store
        """Refuse a store whose samples the network of a card cannot read. StoreError says why."""


class TaskNetwork(ABC):
    """The network: how it is built, described, prepared and exported.

    Attributes:
        channels_last: whether Tensor Cores want the network's tensors laid out so.
    """

    channels_last = False

    @abstractmethod
    def build_network(self, model: Any, num_classes: int) -> Network:
        """Return the network, with the weights it starts from."""

    @abstractmethod
    def config_from_card(self, card: Any) -> ModelParameters:
        """Return the parameters that build the network of a card, with random weights."""

    @abstractmethod
    def card(self, network: Any, store: Any, *, size: int, common: Mapping[str, Any]) -> WeightsCard:
        """Return the card of a trained network: what all cards have, and how its inputs are made."""

    @abstractmethod
    def file_card(self, card: Any) -> dict[str, str]:
        """Return what an exported file says of itself."""

    def without_weights(self, model: Any) -> ModelParameters:
        """Return the parameters of the same network with random weights, which need no file and no download."""
        blank: ModelParameters = model.model_copy(update={"weights": "none"})
        return blank

    def prepare(self, network: Any, samples: TrainingSamples) -> None:  # noqa: B027 - of most networks all is learnt
        """Fit to the training samples what of the network is not learnt by gradients, in place."""

    def merge_weights(self, network: Any, state: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - trained as it is
        """Return the weights to keep, from those of the network as it was trained."""
        return state

    def export_module(self, network: Any) -> Any:
        """Return the module that is exported and measured: takes `inputs` by position, gives the task's output."""
        return network.module


class TaskObjective(ABC):
    """What is minimised."""

    @abstractmethod
    def objective(self, network: Any, train: Any) -> Objective:
        """Return the loss and the score."""

    def soft_loss(self) -> SoftLoss | None:
        """Return how far a student's outputs are from its teacher's; None compares logits."""
        return None


class TaskEvaluation(ABC):
    """How outputs are read and judged.

    Attributes:
        target: name in the batches of what is right, where that is one number a sample.
    """

    target = "labels"

    @abstractmethod
    def evaluator(self, classes: Sequence[str]) -> Evaluator:
        """Return what reads the export module's outputs, judges and compares them."""

    def targets(self, batch: Any) -> list[Any]:
        """Return what is right for each sample of an evaluation batch, as the evaluator wants it."""
        numbers: list[Any] = batch[self.target].tolist()
        return numbers


class Task(TaskData, TaskNetwork, TaskObjective, TaskEvaluation):
    """All that differs between tasks; `tasks/<task>/task.py` has one class of this shape, made without arguments.

    Parameters, cards and networks are of the task's own classes: `train` of the one that `records` names so, `network`
    of the one that `build_network` gives.

    Attributes:
        records: what `model`, `data` and `train` are read as.
    """

    records: ClassVar[Records]

    def workload(
        self,
        model: Any,
        num_classes: int,
        train: TrainParameters,
        *,
        shapes: Shapes | None = None,
        teacher: str | None = None,
        precision: Precision = "fp32",
    ) -> WorkloadSpec:
        """Return where the memory planner's child process finds what this task trains.

        Args:
            model: whatever weights it names play no part.
            num_classes: of the head.
            train: the recipe.
            shapes: of the weights of a network that channels were removed from.
            teacher: name of the network that it learns from.
            precision: that the teacher computes in.
        """
        from eightgig.stages.workloads import spec_of

        return spec_of(
            address_of(type(self)), model, train, num_classes, shapes=shapes, teacher=teacher, precision=precision
        )

    def generation_workload(self, model: Any, num_classes: int) -> WorkloadSpec | None:  # noqa: ARG002 - few write
        """Return where the memory planner finds the network while it writes text; None where it does not."""
        return None


def stage_node(
    function: Callable[..., Any],
    inputs: dict[str, str],
    outputs: Any,
    *,
    task: Any = None,
    records: Records | None = None,
    name: str | None = None,
) -> Node:
    """Return a node of a stage's function, named after it.

    Args:
        function: of the stage.
        inputs: datasets by argument.
        outputs: datasets.
        task: where given, the function's first argument.
        records: what the parameters among the inputs are read as, in the place of the general records that the
            function, which serves all tasks, can name.
        name: another one than the function's.
    """
    bound = MethodType(function, task) if task is not None else function
    if records:
        parameters = {f"params:{group}": record for group, record in records.items()}
        own = {argument: parameters[dataset] for argument, dataset in inputs.items() if dataset in parameters}
        bound = _reading(bound, own)
    return kedro_node(bound, inputs=inputs, outputs=outputs, name=name or function.__name__)


def _reading(function: Callable[..., Any], records: Records) -> Callable[..., Any]:
    """Return a function that calls another one, and declares these records: Kedro reads parameters as declared."""

    @wraps(function)
    def declared(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    declared.__annotations__ = {**function.__annotations__, **records}
    declared.__signature__ = signature(function)  # type: ignore[attr-defined]
    return declared


def stage_pipeline(name: str, nodes: list[Node]) -> Pipeline:
    """Make a stage: a namespace of its own in the graph, a tag to run it by; all stages share their datasets' names."""
    return Pipeline(nodes, namespace=name, prefix_datasets_with_namespace=False, tags=[name])


def case_pipeline(name: str, stages: Iterable[Pipeline]) -> Pipeline:
    """Return the sum of the stages under the case study's name, which is the prefix of all datasets and parameters.

    Raises:
        ConfigurationError: two nodes read one parameter as different records, of which Kedro would take any.
    """
    whole = Pipeline(sum(stages, Pipeline([])), namespace=name)
    _require_one_record_each(whole)
    return whole


def _require_one_record_each(pipeline: Pipeline) -> None:
    first: dict[str, tuple[type, Node]] = {}
    for node in pipeline.nodes:
        for parameter, record in TypeExtractor({"": Pipeline([node])}).extract_types_from_pipelines().items():
            known, beside = first.setdefault(parameter, (record, node))
            if known is not record:
                raise ConfigurationError(
                    f"parameter `{parameter}`: wanted one record for all nodes, found {known.__name__} in node "
                    f"`{beside.name}` and {record.__name__} in node `{node.name}`. Give both nodes the same `records`."
                )
