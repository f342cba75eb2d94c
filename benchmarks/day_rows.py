"""The rows of a day with a card, in the order of their worth, and what each of them needs."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from gpu_cases import VARIANTS, Case, dry_case, guide_cases, recipe_names
from gpu_row import Machine
from pydantic import JsonValue

# The order of worth; README.md of the results names them beside what is owed.
SECTIONS = (
    "tests",
    "recipes",
    "memory",
    "recovery",
    "resume",
    "calibration",
    "levers",
    "loop",
    "runners",
    "compile",
    "expandable",
    "agents",
    "tiles",
    "generation",
    "video",
    "engines",
    "distributed",
    "repredict",
)
# What is missing on a machine without the project's environment, and what that costs.
PACKAGES = {
    "kedro": "the project's own stages: recipes, recovery, resume, levers, loop, agents",
    "pydantic": "everything",
    "simplejpeg": "all that reads images: recipes, recovery, resume, loop",
    "gymnasium": "agents",
    "av": "video",
    "onnx": "ONNX Runtime's rows of the runners",
    "onnxruntime": "ONNX Runtime's rows of the runners",
    "onnxscript": "ONNX Runtime's rows of the runners",
    "onnxslim": "ONNX Runtime's rows of the runners",
    "transformers": "texts: BERT and GPT-2, generation",
    "peft": "the LoRA row of the levers",
    "bitsandbytes": "the 8-bit AdamW rows of the levers",
    "pynvml": "the context, as the driver says it: the calibration's is taken in its place",
    "pytest": "the gpu-marked tests",
    "tensorrt_rtx": "engines",
    "pyvips": "nothing: OpenCV writes and reads the tiles' image in its place",
}
_STAGES = ("kedro", "simplejpeg")
_TEXTS = ("kedro", "transformers")
_IMAGES = {
    "flower_classifier": _STAGES,
    "image_classifier": _STAGES,
    "object_detector": _STAGES,
    "semantic_segmenter": _STAGES,
}
_COMPILED = ("image_classifier", "gpt2_medium", "flower_classifier", "sentiment_classifier", "semantic_segmenter")
# So that cuBLAS adds up in one order, which torch's deterministic mode asks for.
_SAME_SUMS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
Arguments = dict[str, JsonValue]
Planning = Literal["none", "case", "recipe"]


class Row(NamedTuple):
    """One thing to measure.

    Attributes:
        work: `module:function` that measures it, in a process of its own; empty where no process can.
        arguments: of the function.
        planning: what has to be planned ahead, on other cores, before it can be begun.
        needs: packages; without one the row is not run.
        least: seconds; it is not begun with less.
        most: seconds after which it is ended.
        why_not: it cannot be run on this machine at all.
        environment: of its process.
        case: of the rows of `memory` and `expandable`.
    """

    section: str
    name: str
    work: str
    arguments: Arguments
    planning: Planning = "none"
    needs: tuple[str, ...] = ()
    least: float = 15
    most: float = 120
    why_not: str | None = None
    environment: Mapping[str, str] = MappingProxyType({})
    case: Case | None = None

    @property
    def key(self) -> str:
        """Its name in the index."""
        return f"{self.section}: {self.name}"


def missing_packages() -> dict[str, str]:
    """Return the packages that are not here, with what that costs."""
    return {name: cost for name, cost in PACKAGES.items() if find_spec(name) is None}


def all_rows(machine: Machine, *, tiny: bool, stores: Path) -> list[Row]:
    """Return all rows for a machine, the most important first; `tiny` ones are done by a CPU in seconds.

    Args:
        machine: with the card.
        tiny: whether to rehearse.
        stores: folder for the samples that are drawn.
    """
    common: Arguments = {"device": machine.device, "tiny": tiny}
    runs: Arguments = {**common, "stores": str(stores)}
    made = [*_first(common, runs), *_memory(machine, tiny), *_then(common, runs), *_last(common, machine, tiny)]
    return sorted(made, key=lambda row: SECTIONS.index(row.section))  # stable: the order within a section stays


def _first(common: Arguments, runs: Arguments) -> Iterator[Row]:
    yield Row("tests", "pytest -m gpu", "day_tests:work", common, needs=("pytest",), least=60, most=240)
    for name in recipe_names():
        needs = _IMAGES.get(name, _TEXTS)
        yield Row("recipes", name, "day_training:recipe", {**runs, "case": name}, "recipe", needs, most=90)


def _memory(machine: Machine, tiny: bool) -> Iterator[Row]:
    cases = [dry_case()] if tiny else _by_worth(machine)
    for case in cases:
        needs = ("transformers",) if case.kind == "transformer" else ()
        yield Row("memory", case.key, "day_memory:work", {}, "case", needs, case=case)
    for case in (case for case in cases if case.variant == "amp" or tiny):
        needs = ("transformers",) if case.kind == "transformer" else ()
        settings = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
        yield Row("expandable", case.key, "day_memory:work", {}, "case", needs, case=case, environment=settings)


def _by_worth(machine: Machine) -> list[Case]:
    prefers_cudnn = machine.compute_capability[0] in (9, 10)
    order = ("as planned", "amp", "amp, checkpointing", "fp32", "amp, cuDNN attention")
    assert set(order) == set(VARIANTS)  # noqa: S101  a new variant wants a place
    return sorted(guide_cases(with_cudnn_attention=prefers_cudnn), key=lambda case: order.index(case.variant))


def _then(common: Arguments, runs: Arguments) -> Iterator[Row]:
    work = "day_training:recovery"
    yield Row("recovery", "a shortage in a step", work, runs, needs=_STAGES, least=20, environment=_SAME_SUMS)
    for name in recipe_names():
        needs = _IMAGES.get(name, _TEXTS)
        yield Row("resume", name, "day_training:resume", {**runs, "case": name}, needs=needs, environment=_SAME_SUMS)
    yield Row("calibration", "constants", "day_card:calibration", common, least=25, most=180)
    for name, packages in (("8-bit AdamW", ("bitsandbytes",)), ("LoRA of rank 8", ("peft",))):
        yield _lever(runs, name, packages)
    yield _lever(runs, "optimizer in the backward pass", ())
    yield _lever(runs, "8-bit AdamW in the backward pass", ("bitsandbytes",))


def _lever(runs: Arguments, name: str, packages: tuple[str, ...]) -> Row:
    arguments: Arguments = {**runs, "case": "text_generator", "lever": name}
    return Row("levers", name, "day_training:recipe", arguments, "recipe", (*_TEXTS, *packages), most=90)


def _last(common: Arguments, machine: Machine, tiny: bool) -> Iterator[Row]:
    yield Row("loop", "an epoch beside a bare loop", "day_card:loop", common, needs=_STAGES, least=20)
    for network in ("resnet50", "efficientnet_b3"):
        yield Row("runners", network, "day_card:runners", {**common, "network": network}, least=30, most=240)
    for name in (_COMPILED[0],) if tiny else _COMPILED:
        needs = ("transformers",) if name in ("gpt2_medium", "sentiment_classifier") else ()
        yield Row("compile", name, "day_card:compiled", {**common, "case": name}, needs=needs, least=45, most=180)
    yield Row("agents", "PPO by part", "day_card:agents", common, needs=("kedro", "gymnasium"))
    yield Row("tiles", "unet", "day_card:tiles", common)
    yield Row("generation", "gpt2-medium", "day_card:generation", common, needs=("transformers",))
    yield Row("video", "yolov5s", "day_card:video", common, needs=("av",))
    by_hand = "by `kedro run --pipeline flower_classifier --env rtx3070` in the project's environment"
    yield Row("engines", "TensorRT for RTX", "", common, why_not=_no_engines(machine) or f"made and timed {by_hand}")
    yield Row("distributed", "DDP and FSDP2", "", common, why_not=_no_second_card())
    yield Row("repredict", "with the measured constants", "day_card:repredict", common, least=20, most=300)


def _no_engines(machine: Machine) -> str | None:
    if machine.device == "cpu":
        return "hardware: no NVIDIA GPU"
    if machine.compute_capability[0] in (9, 10):
        return f"hardware: TensorRT for RTX has no kernels for {machine.card}"
    return None if find_spec("tensorrt_rtx") else "package: tensorrt_rtx is not here"


def _no_second_card() -> str:
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    by_hand = "run `kedro run --pipeline image_classifier --params image_classifier.train.distributed.nproc_per_node=2`"
    return by_hand if found > 1 else f"hardware: wants two cards, found {found}"


def refusal(row: Row, missing: dict[str, Any]) -> str | None:
    """Return why a row cannot be run on this machine, or None."""
    if row.why_not is not None:
        return row.why_not
    lacking = [name for name in row.needs if name in missing]
    return f"package: {', '.join(lacking)} not here" if lacking else None
