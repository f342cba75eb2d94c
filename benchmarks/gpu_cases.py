"""What vram_gpu.py runs: the guide's training workloads in several ways, and the plan and prediction of each."""

from pathlib import Path
from typing import Literal, NamedTuple

import yaml
from gpu_row import Machine
from gpu_training import allow_guide_without_kedro
from pydantic import JsonValue

from eightgig.core.device import DeviceKind
from eightgig.core.errors import BudgetError
from eightgig.core.records import Record
from eightgig.core.units import gib
from eightgig.vram.cards.catalog import Card
from eightgig.vram.cards.roofline import step_seconds
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import Checkpointing, OptimizerName, Precision, StepConfig
from eightgig.vram.planning.planner import make_plan
from eightgig.vram.planning.request import PlanRequest, generation_of
from eightgig.vram.runtime.card_memory import Context, context_to_keep
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workspace import Calibration, Generation

CONFIGURATION = Path(__file__).parents[1] / "conf" / "base" / "parameters_gpu_guide.yml"
RECIPES = CONFIGURATION.parents[1] / "rtx3070"
MARGIN_FRACTION = 0.05  # of all rows, so that one can be held against another
Kind = Literal["convolutional", "transformer", "other"]
_KINDS: dict[str, Kind] = {
    "image_classifier": "convolutional",
    "semantic_segmenter": "convolutional",
    "object_detector": "convolutional",
    "text_classifier": "transformer",
    "language_model": "transformer",
}


class Variant(NamedTuple):
    """A way of running a workload; None leaves the precision to the workload."""

    precision: Precision | None
    activation_checkpointing: Literal["auto"] | Checkpointing
    cudnn_attention: bool = False


VARIANTS = {
    "fp32": Variant("fp32", "none"),
    "amp": Variant("fp16", "none"),
    "amp, checkpointing": Variant("fp16", "full"),
    "as planned": Variant(None, "auto"),
    "amp, cuDNN attention": Variant("fp16", "none", cudnn_attention=True),
}


class Case(Record):
    """One workload in one way, as `conf/base/parameters_gpu_guide.yml` has it."""

    name: str
    variant: str
    factory: str
    options: dict[str, JsonValue]
    sample: str
    effective_batch: int
    micro_batch: int
    eval_batch: int
    precisions: tuple[Precision, ...]
    optimizer: OptimizerName
    channels_last: bool
    clips_gradients: bool

    @property
    def key(self) -> str:
        """Its name among the results."""
        return f"{self.name}, {self.variant}"

    @property
    def kind(self) -> Kind:
        """What sort of network it is: the bars differ."""
        return _KINDS.get(self.factory.partition(":")[2], "other")

    @property
    def workload(self) -> WorkloadSpec:
        """The factory, by way of one that can do without Kedro."""
        options: dict[str, JsonValue] = {"factory": self.factory, "options": self.options}
        return WorkloadSpec(factory="gpu_training:guide_workload", options=options)


class Predicted(Record):
    """What the predictor says of a step, in bytes; seconds by the roofline of the card, None where none is known."""

    peak_allocated: int
    peak_reserved: int
    min_memory_limit: int
    num_segments: int
    at_peak: dict[str, int]
    step_seconds: float | None = None
    bottleneck: str | None = None


class Planned(Record):
    """How a case is run.

    Attributes:
        fits: whether the planner found a way within the budget; where it did not, the case runs as it was asked for.
        said: the plan, or the planner's refusal.
    """

    options: StepOptions
    gradient_accumulation_steps: int
    fits: bool
    said: str
    predicted: Predicted


class Setting(NamedTuple):
    """The machine and the budget that plans are made for."""

    device: DeviceKind
    device_name: str
    context: Context
    budget_gib: float
    card: Card | None
    generation: Generation
    calibration: Calibration | None = None


def guide_cases(*, with_cudnn_attention: bool) -> list[Case]:
    """Return all of the guide's training workloads in all variants; cuDNN's attention for transformers alone."""
    allow_guide_without_kedro()
    from eightgig.pipelines.gpu_guide.parameters import CompareParameters

    content = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    workloads = CompareParameters.model_validate(content["gpu_guide"]["compare"]).workloads
    cases = [
        Case(name=name, variant=variant, **workload.model_dump(include=set(Case.model_fields)))
        for variant in VARIANTS
        for name, workload in workloads.items()
        if workload is not None and workload.task == "train"
    ]
    allowed = (case for case in cases if not VARIANTS[case.variant].cudnn_attention or case.kind == "transformer")
    return [case for case in allowed if with_cudnn_attention or not VARIANTS[case.variant].cudnn_attention]


def recipe_names() -> tuple[str, ...]:
    """Return the case studies that have a recipe for the card of the budget, those of images first."""
    names = {path.stem.removeprefix("parameters_") for path in RECIPES.glob("parameters_*.yml")}
    texts = {name for name in names if name.startswith(("sentiment", "text"))}
    return (*sorted(names - texts), *sorted(texts))


def dry_case() -> Case:
    """Return a case that a CPU does in no time."""
    return Case(
        name="cartpole_agent",
        variant="fp32",
        factory="eightgig.pipelines.gpu_guide.workloads:policy_gradient",
        options={"hidden": 8},
        sample="one step of an episode",
        effective_batch=8,
        micro_batch=4,
        eval_batch=1,
        precisions=("fp32",),
        optimizer="adam",
        channels_last=False,
        clips_gradients=True,
    )


def plan_case(case: Case, setting: Setting, predictor: Predictor) -> Planned:
    """Return the plan for the budget, with its prediction; where nothing fits, what was asked for.

    Raises:
        ConfigurationError, PredictionError: the workload cannot be built or traced.
    """
    variant = VARIANTS[case.variant]
    request = _request(case, variant, setting)
    parameters = PlanParameters(
        device=setting.device,
        budget_gib=setting.budget_gib,
        context_gib=gib(setting.context.num_bytes),
        activation_checkpointing=variant.activation_checkpointing,
        offload="auto" if variant.activation_checkpointing == "auto" else "never",
        margin_fraction=MARGIN_FRACTION,
    )
    step: StepConfig
    try:
        plan = make_plan(request, parameters, predictor=predictor)
    except BudgetError as error:
        step, said, fits = _as_asked(request, variant), str(error), False
    else:
        step, said, fits = plan, plan.sentence(), plan.fits
    options = StepOptions.of(step, clips_gradients=request.clips_gradients)
    predicted = predict(case.workload, options, step.gradient_accumulation_steps, setting, predictor)
    return Planned(
        options=options,
        gradient_accumulation_steps=step.gradient_accumulation_steps,
        fits=fits,
        said=said,
        predicted=predicted,
    )


def predict(
    workload: WorkloadSpec,
    options: StepOptions,
    gradient_accumulation_steps: int,
    setting: Setting,
    predictor: Predictor,
) -> Predicted:
    """Return the prediction of a step.

    Raises:
        ConfigurationError, PredictionError: the workload cannot be built or traced.
    """
    made = predictor.predict(workload, options, generation=setting.generation)
    costs = predictor.costs(workload, options)
    time = None if setting.card is None else step_seconds(costs, setting.card, micro_steps=gradient_accumulation_steps)
    return Predicted(
        peak_allocated=made.peak_allocated,
        peak_reserved=made.peak_reserved,
        min_memory_limit=made.min_memory_limit,
        num_segments=made.num_segments,
        at_peak=dict(made.at_peak),
        step_seconds=None if time is None else time.seconds,
        bottleneck=None if time is None else time.bottleneck,
    )


def setting_of(machine: Machine, budget_gib: float, card: Card | None, calibration: Calibration) -> Setting:
    """Return the setting of a machine; the context is the larger of what it takes now and the calibration's."""
    made = Setting(machine.device, machine.card, machine.context, budget_gib, card, "none", calibration)
    generation = generation_of(_request(dry_case(), VARIANTS["fp32"], made))
    held = machine.context.num_bytes if machine.context.source == "measured" else None
    context = context_to_keep(held, int(calibration.of(generation).context_bytes.value))
    return made._replace(context=context, generation=generation)


def _request(case: Case, variant: Variant, setting: Setting) -> PlanRequest:
    return PlanRequest.from_records(
        case,
        workload=case.workload,
        precisions=case.precisions if variant.precision is None else (variant.precision,),
        device=setting.device,
        device_name=setting.device_name,
        card=setting.card,
    )


def _as_asked(request: PlanRequest, variant: Variant) -> StepConfig:
    level = variant.activation_checkpointing
    return request.step(
        request.micro_batch, request.precisions[0], activation_checkpointing="full" if level == "auto" else level
    )
