"""WHAT to a network that can be asked about: by its name, and what of its name is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.fitting.images import ImageNetwork
from eightgig.fitting.language import NetworkConfig, traced_layers
from eightgig.fitting.layers import Stack, StackPredictor
from eightgig.fitting.question import DEFAULT_TOKENS, Question
from eightgig.vram.plan import Precision
from eightgig.vram.tracing.spec import WorkloadSpec

Kind = Literal["tokens", "images", "own"]
_DTYPES: dict[Precision, str] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_HERE = "eightgig.fitting"


class Network(Record):
    """A network that was found.

    Attributes:
        kind: what its samples are.
        sample: the size of one sample, in words.
        config: of a network of transformers.
        stack: of alike layers; None where it is traced whole.
        image_size: of a network for images.
        spec: of one's own.
    """

    what: str
    name: str
    kind: Kind
    sample: str
    num_parameters: int | None = None
    config: NetworkConfig | None = None
    stack: Stack | None = None
    library: str = ""
    image_size: int | None = None
    tokens: int | None = None
    spec: WorkloadSpec | None = None

    @property
    def has_experts(self) -> bool:
        """Whether each token takes some of many experts."""
        return self.config is not None and self.config.has_experts

    def workload(self, question: Question, weights: Precision) -> WorkloadSpec:
        """Return what is traced of it.

        Args:
            question: how it shall be run.
            weights: what weights that are not quantized are held in.
        """
        if self.spec is not None:
            return self.spec
        if self.config is None:
            options: dict[str, Any] = {"library": self.library, "name": self.name, "image_size": self.image_size}
            return WorkloadSpec(factory=f"{_HERE}.images:image_network", options=options)
        options = {
            "config": self.config.config,
            "model_type": self.config.model_type,
            "head": self.config.head,
            "task": question.task,
            "weights": _DTYPES[weights],
            "size": self.tokens or self.image_size,
            "keeps_outputs": question.loop == "hf",
            "rank": question.rank,
        }
        return WorkloadSpec(factory=f"{_HERE}.language:network", options=options)


def network_of(
    what: "str | WorkloadSpec | Callable[..., Any]", question: Question, predictor: StackPredictor
) -> Network:
    """Return the network of a name, or of a function that makes it.

    Args:
        what: an id at Hugging Face, a folder with config.json, `torchvision:NAME`, `timm:NAME`, a case study, or
            `package.module:function`; or such a function itself.
        question: whose sizes count.
        predictor: in whose process libraries are imported.

    Raises:
        ConfigurationError: there is no such network, or a library is missing.
    """
    if not isinstance(what, str):
        spec = WorkloadSpec.of(what)
        return _own(spec.factory, spec, question)
    prefix, _, rest = what.partition(":")
    if prefix in ("torchvision", "timm") and rest:
        return _image(what, prefix, rest, question, predictor)
    if rest:
        return _own(what, WorkloadSpec.of(what), question)
    if not Path(what).is_dir() and "/" not in what:
        from eightgig.fitting.case_studies import case_study

        if (found := case_study(what)) is not None:
            return Network(what=what, name=found.title, kind="own", sample=found.sample, spec=found.spec)
    return _of_transformers(what, question, predictor)


def _own(what: str, spec: WorkloadSpec, question: Question) -> Network:
    for name, value in (("tokens", question.tokens), ("image-size", question.image_size)):
        if value is not None:
            raise ConfigurationError(f"--{name} is not for {what}, whose batches its own function makes: set it there")
    if question.task in ("lora", "qlora"):
        raise ConfigurationError(
            f"--task {question.task} is for networks of transformers: let {what} make the adapters itself, and ask "
            "with --task train"
        )
    return Network(what=what, name=what, kind="own", sample="one sample", spec=spec)


def _image(what: str, library: str, name: str, question: Question, predictor: StackPredictor) -> Network:
    if question.task in ("lora", "qlora"):
        raise ConfigurationError(
            f"--task {question.task} is for networks of transformers: ask for {what} with --task train"
        )
    _check_sizes(what, tokens=question.tokens)
    known: ImageNetwork = predictor.call(f"{_HERE}.images:read_image_network", library=library, name=name)
    size = question.image_size or known.image_size
    return Network(
        what=what,
        name=name,
        kind="images",
        sample=f"{size} px",
        num_parameters=known.num_parameters,
        library=library,
        image_size=size,
    )


def _of_transformers(what: str, question: Question, predictor: StackPredictor) -> Network:
    config: NetworkConfig = predictor.call(f"{_HERE}.language:read_network", source=what)
    shared = {"what": what, "name": config.name, "config": config, "num_parameters": config.num_parameters}
    stack = None
    if config.period and config.num_layers:
        few, more = traced_layers(config.period, config.num_layers)
        stack = Stack(num_layers=config.num_layers, few=few, more=more)
    if config.head == "ImageClassification":
        _check_sizes(what, tokens=question.tokens)
        size = question.image_size or config.image_size or 224
        return Network(**shared, kind="images", stack=stack, sample=f"{size} px", image_size=size)
    _check_sizes(what, image_size=question.image_size)
    tokens = question.tokens or min(DEFAULT_TOKENS, config.max_tokens or DEFAULT_TOKENS)
    if config.max_tokens and tokens > config.max_tokens and question.task != "infer":
        raise ConfigurationError(
            f"{what} has positions for {config.max_tokens:,} tokens, fewer than the {tokens:,} that were asked for: "
            "lower --tokens"
        )
    return Network(**shared, kind="tokens", stack=stack, sample=f"{tokens:,} tokens", tokens=tokens)


def _check_sizes(what: str, *, tokens: int | None = None, image_size: int | None = None) -> None:
    if tokens is not None:
        raise ConfigurationError(f"{what} takes images: --image-size in place of --tokens")
    if image_size is not None:
        raise ConfigurationError(f"{what} takes texts: --tokens in place of --image-size")
