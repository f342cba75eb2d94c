"""What the guide compares: the cards, the machine around them, and the workloads."""

from typing import Literal

from pydantic import Field, JsonValue, field_validator

from eightgig.core.records import Record
from eightgig.vram.plan import Attention, OptimizerName, Precision


class ArticleWay(Record):
    """How the article runs a workload: nothing is recomputed or moved, and what fits plays no part.

    Attributes:
        attention: `eager` where its libraries were older than fused attention.
    """

    precision: Precision
    attention: Attention = "sdpa"


class WorkloadParameters(Record):
    """One workload, as the article or a user would train it.

    Attributes:
        title: for people.
        chapter: of the article; empty for a user's own.
        factory: `package.module:function` that gives the network, its loss and its batches.
        options: keyword arguments of the factory.
        task: `train`, or `generate` for a network that only answers; its memory is that of the pass without gradients.
        passes: how often the traced pass is run for one sample: 25 for 100 tokens of which 4 are traced.
        sample: what one sample is, for example `300 px`.
        effective_batch: samples an optimizer step, on every card.
        micro_batch: the largest to try.
        precisions: those that may be chosen.
        samples_per_epoch: None leaves the time of an epoch out.
        loads_images: whether samples are decoded from JPEG files, so that the loader may be too slow.
        channels_last: whether its input are images, which Tensor Cores want with the channels last.
        clips_gradients: whether the recipe clips them.
        as_in_article: answers the article's own figures; None where it gives none.
    """

    title: str
    chapter: str = ""
    factory: str
    options: dict[str, JsonValue] = Field(default_factory=dict)
    task: Literal["train", "generate"] = "train"
    passes: int = Field(default=1, ge=1)
    sample: str
    effective_batch: int = Field(ge=1)
    micro_batch: int = Field(ge=1)
    eval_batch: int = Field(default=1, ge=1)
    precisions: tuple[Precision, ...] = ("fp16", "fp32")
    optimizer: OptimizerName = "adamw"
    samples_per_epoch: int | None = Field(default=None, ge=1)
    loads_images: bool = False
    channels_last: bool = False
    clips_gradients: bool = False
    as_in_article: ArticleWay | None = None


class OwnModelParameters(Record):
    """How a user's own model (`gpu_guide.model`) is trained.

    Attributes:
        options: keyword arguments of the function.
        with_other_workloads: whether `compare.workloads` are planned beside it, which takes minutes.
    """

    options: dict[str, JsonValue] = Field(default_factory=dict)
    with_other_workloads: bool = False
    sample: str = "one sample"
    effective_batch: int = Field(default=8, ge=1)
    precisions: tuple[Precision, ...] = ("fp16", "fp32")
    optimizer: OptimizerName = "adamw"
    samples_per_epoch: int | None = Field(default=None, ge=1)
    loads_images: bool = False
    channels_last: bool = False
    clips_gradients: bool = True

    def workload(self, factory: str) -> WorkloadParameters:
        """Return the workload of the function at `factory`."""
        return WorkloadParameters.from_records(
            self,
            title=factory,
            factory=factory,
            micro_batch=self.effective_batch,
            eval_batch=self.effective_batch,
        )


class CompareParameters(Record):
    """What is held against what.

    Attributes:
        cards: names in the catalog, as a list or joined by `+`.
        reference_card: the others' speed is stated against it.
        add_found_card: whether the card of this machine is added.
        cores: CPU cores that load data.
        workloads: by a short name; set one to null to leave it out.
    """

    cards: tuple[str, ...] = Field(min_length=1)
    reference_card: str = "RTX 3070"
    add_found_card: bool = True
    cores: int = Field(default=8, ge=1)
    workloads: dict[str, WorkloadParameters | None]

    @field_validator("cards", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        # On the command line a comma parts parameters, so names are joined by "+": "RTX 3070 + RTX 5070".
        return tuple(name.strip() for name in value.split("+")) if isinstance(value, str) else value
