"""One question, one answer: the network is found, traced once, and held against each card."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from eightgig.core.errors import ConfigurationError, PredictionError
from eightgig.core.units import gib
from eightgig.fitting.adapters import check_libraries
from eightgig.fitting.answer import CardAnswer, FitAnswer, rounded_gib
from eightgig.fitting.asked_cards import AskedCard, asked_cards
from eightgig.fitting.inverse import largest_batch, longest_context
from eightgig.fitting.layers import StackPredictor
from eightgig.fitting.levers import levers_of, verified
from eightgig.fitting.networks import Network, network_of
from eightgig.fitting.question import Question
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan, Precision
from eightgig.vram.planning.advice import NoPlanError
from eightgig.vram.planning.planner import METHOD, make_plan
from eightgig.vram.planning.request import PlanRequest
from eightgig.vram.tracing.spec import WorkloadSpec

if TYPE_CHECKING:
    from torch import nn

Say = Callable[[str], None]
_FIRST_WITH_BF16 = (8, 0)  # Ampere: compute capability of the first cards whose Tensor Cores know it
_STACKED = "; of its alike layers {few} and {more} are traced, and {all} follow in a straight line"


def fit(
    network: "str | WorkloadSpec | nn.Module | Callable[..., Any]",
    card: str | Sequence[str] = "RTX 3070",
    *,
    loss: Callable[..., Any] | None = None,
    batch: Any = None,
    explain: bool = False,
    say: Say = lambda _: None,
    **asked: Any,
) -> FitAnswer:
    """Return whether a network fits, a row a card, with what would make it fit. No GPU is touched.

    Examples:
        mymodel.py is that of `predict_memory`.

        >>> answer = fit("mymodel:make", card=["RTX 3070", "RTX 4090"], batch=16)
        >>> [(row.card, row.verdict) for row in answer.rows]
        [('RTX 3070', 'fits'), ('RTX 4090', 'fits')]
        >>> answer.row("RTX 3070").largest_batch > 16
        True

    Args:
        network: an id at Hugging Face, a folder with config.json, `torchvision:resnet50`, `timm:convnext_tiny`, a case
            study's name, `package.module:function`; such a function itself; or a module, with its loss and a batch.
        card: one or several of the catalog; `all-8gb` are all of 8 GB, `found` is this machine's.
        loss: of a module: called with it and a batch, it gives one number.
        batch: samples an optimizer step; with a module one batch as its loss takes it, whose first axis counts samples.
        explain: whether levers are tried out instead of estimated, which takes a trace each.
        say: is told what goes on.
        **asked: the other fields of `Question`: task, tokens, image_size, precision, optimizer, ...

    Raises:
        ConfigurationError: there is no such network, card or library, or parts of the question contradict each other.
        PredictionError: the network cannot be traced.
    """
    begun = time.monotonic()
    what, samples = _live(network, loss, batch)
    question = Question(batch=samples, **asked)
    cards = asked_cards(card, question)
    with StackPredictor() as predictor:
        answer = answer_with(predictor, what, question, cards, say, explain=explain)
    return answer.model_copy(update={"seconds": round(time.monotonic() - begun, 1)})


def answer_with(
    predictor: StackPredictor,
    what: "str | WorkloadSpec | Callable[..., Any]",
    question: Question,
    cards: tuple[AskedCard, ...],
    say: Say = lambda _: None,
    *,
    explain: bool = False,
) -> FitAnswer:
    """Return the answer to a question, by a predictor that may answer several."""
    check_libraries(question.task)
    say(f"reads {what if isinstance(what, str) else 'the network'}")
    found = network_of(what, question, predictor)
    predictor.stack = found.stack
    return _answer(found, question, cards, predictor, say, explain=explain)


def _live(network: Any, loss: Any, batch: Any) -> tuple[Any, int | None]:
    """Return what is traced, and how many samples; a module with its loss and batch becomes a function."""
    if loss is None and (batch is None or isinstance(batch, int)) and not hasattr(network, "parameters"):
        return network, batch
    from eightgig.fitting.live import live_spec

    return live_spec(network, loss, batch)


def _answer(
    network: Network,
    question: Question,
    cards: tuple[AskedCard, ...],
    predictor: StackPredictor,
    say: Say,
    *,
    explain: bool,
) -> FitAnswer:
    notes: tuple[str, ...] = ()
    if question.task == "infer" and network.config is not None and network.kind == "tokens":
        from eightgig.fitting.inference import METHOD as CLOSED_FORM
        from eightgig.fitting.inference import answers_of

        rows, method, notes = answers_of(network, question, cards, predictor), CLOSED_FORM, ()
    else:
        say(f"traces {network.name} ({network.sample})")
        rows = tuple(_row(network, question, card, predictor, explain=explain, say=say) for card in cards)
        method = METHOD + _stacked(network)
    return FitAnswer(
        what=network.what,
        name=network.name,
        question=question,
        sample=network.sample,
        batch=question.samples(network.kind),
        num_parameters=network.num_parameters,
        rows=rows,
        method=method,
        notes=notes,
    )


def _stacked(network: Network) -> str:
    stack = network.stack
    return "" if stack is None else _STACKED.format(few=stack.few, more=stack.more, all=stack.num_layers)


def _row(
    network: Network, question: Question, card: AskedCard, predictor: StackPredictor, *, explain: bool, say: Say
) -> CardAnswer:
    request, budget = _request(network, question, card), PlanParameters(budget_gib=card.usable_gib)
    try:
        plan = make_plan(request, budget, predictor=predictor)
    except NoPlanError as error:
        row = _short(card, error, gib(predictor.context_bytes(card.generation)))
        return verified(row, question, lambda other: fit(network.what, card.name, **other), say) if explain else row
    except PredictionError as error:
        raise PredictionError(str(error).replace(request.workload.factory, network.name)) from error
    return _fitting(request, card, plan, predictor, network)


def _fitting(
    request: PlanRequest, card: AskedCard, plan: MemoryPlan, predictor: StackPredictor, network: Network
) -> CardAnswer:
    context = plan.context_bytes
    return CardAnswer(
        card=card.name,
        card_gib=card.card.memory_gib,
        verdict="fits" if plan.verdict == "fits" else "barely",
        usable_gib=round(card.usable_gib, 2),
        middle_gib=rounded_gib(context + plan.expected_bytes),
        upper_gib=rounded_gib(context + plan.needed_bytes),
        how=_how(plan, trains=request.task == "train"),
        seconds_per_step=plan.seconds_per_step,
        limit=plan.bottleneck,
        largest_batch=largest_batch(request, plan, predictor),
        longest_context=longest_context(request, plan, predictor, network),
        findings=tuple(f"{finding.code} {finding.message}" for finding in plan.findings),
        plan=plan,
    )


def _short(card: AskedCard, error: NoPlanError, context_gib: float) -> CardAnswer:
    middle = error.prediction.min_memory_limit if error.prediction is not None else None
    return CardAnswer(
        card=card.name,
        card_gib=card.card.memory_gib,
        verdict="no",
        usable_gib=round(card.usable_gib, 2),
        middle_gib=None if middle is None else round(context_gib + gib(middle), 2),
        upper_gib=round(context_gib + gib(error.needed_bytes), 2),
        levers=levers_of(error),
        why=str(error),
    )


def _how(plan: MemoryPlan, *, trains: bool) -> str:
    if not trains:
        return f"{plan.micro_batch} at a time, {plan.precision}"
    parts = (
        f"{plan.micro_batch} x {plan.gradient_accumulation_steps}",
        plan.precision,
        {"none": "", "selective": "cheap ops recomputed", "full": "blocks recomputed"}[plan.activation_checkpointing],
        "activations offloaded" if plan.offload else "",
        "optimizer in the backward pass" if plan.optimizer_in_backward else "",
        "8-bit states" if plan.optimizer == "adamw8bit" else "",
    )
    return ", ".join(part for part in parts if part)


def _request(network: Network, question: Question, card: AskedCard) -> PlanRequest:
    precision, weights = _precisions(network, question, card)
    samples = question.samples(network.kind)
    return PlanRequest(
        name=network.name,
        workload=network.workload(question, weights),
        sample=network.sample,
        task="infer" if question.task == "infer" else "train",
        effective_batch=samples,
        micro_batch=samples,
        eval_batch=samples,
        precisions=(precision,),
        optimizer=question.optimizer,
        channels_last=network.kind == "images",
        device="cuda",
        device_name=card.name,
        card=card.card,
    )


def _precisions(network: Network, question: Question, card: AskedCard) -> tuple[Precision, Precision]:
    """Return what is computed in, and what weights are held in."""
    has_bf16 = card.card.compute_capability >= _FIRST_WITH_BF16
    half: Precision = "bf16" if has_bf16 else "fp16"
    asked = question.precision
    if asked in ("bf16", "bf16-true") and not has_bf16:
        raise ConfigurationError(f"{card.name} has no bf16 (Ampere is the first that has): --precision fp16")
    if asked == "bf16-true" or (asked == "auto" and has_bf16 and network.has_experts and not _adapts(question)):
        return "fp32", "bf16"  # nothing is cast: all is bf16 already
    adapters = _adapts(question)
    if asked == "auto":
        computed: Precision = half if network.kind == "tokens" else "fp16"
        return computed, computed if adapters else "fp32"
    if asked == "fp32":
        return "fp32", "fp32"
    return ("bf16" if asked == "bf16" else "fp16"), (asked if adapters else "fp32")


def _adapts(question: Question) -> bool:
    return question.task in ("lora", "qlora")
