"""Whether a language model answers on a card: weights, keys and values, by a closed form.

Here nothing is simulated: weights are as many bytes as they have bits, keys and values grow with each token
(`kv_cache.py`), and what passes is small beside them. What passes is taken for one layer's inner width over the tokens
that are read at a time, and one row of logits; it has not been measured.
"""

from typing import NamedTuple

from eightgig.core.errors import ConfigurationError
from eightgig.core.units import bytes_from_gib
from eightgig.fitting.answer import CardAnswer, FitVerdict, Lever, rounded_gib
from eightgig.fitting.asked_cards import AskedCard
from eightgig.fitting.language import NetworkConfig
from eightgig.fitting.networks import Network
from eightgig.fitting.question import Question
from eightgig.fitting.weight_kinds import KINDS, WeightKind, weight_kind
from eightgig.vram.cards.roofline import ACHIEVED_BANDWIDTH
from eightgig.vram.plan import Bottleneck
from eightgig.vram.tracing.accuracy import load_accuracy
from eightgig.vram.tracing.predictor import Predictor

METHOD = (
    "a closed form: weights by their bits, keys and values by tokens and heads, one layer's width of what passes; the "
    "range is that of predictions of training, for want of measured rows"
)
# Tokens of a prompt that are read at a time: llama.cpp's n_ubatch; transformers reads all at once, in layers of this.
_READ_AT_ONCE = 512
_HALF_BYTES = 2
_FLOAT_BYTES = 4
_LATE = 64  # tokens to which the longest context is rounded down


class Sizes(NamedTuple):
    """Bytes of one answer."""

    weights: int
    keys_and_values: int
    passing: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def answers_of(
    network: Network, question: Question, cards: tuple[AskedCard, ...], predictor: Predictor
) -> tuple[CardAnswer, ...]:
    """Return a row a card for a language model that answers.

    Raises:
        ConfigurationError: there is no such kind of weights, or keys and values cannot be counted.
    """
    name, kind = weight_kind(question.weights or _held_in(question))
    return tuple(_row(network, question, card, predictor.context_bytes(card.generation), name, kind) for card in cards)


def sizes_of(config: NetworkConfig, question: Question, kind: WeightKind, tokens: int) -> Sizes:
    """Return what an answer of so many tokens takes, its prompt included."""
    samples = question.samples("tokens")
    kept = sum(layers.values_of(tokens) for layers in config.kv_layers)
    widest = max(config.inner_width, config.hidden_size)
    read = min(tokens, _READ_AT_ONCE)
    passing = samples * (read * (2 * widest + 4 * config.hidden_size) * _HALF_BYTES + config.vocab_size * _FLOAT_BYTES)
    return Sizes(_weights(config, kind), int(samples * kept * question.kv_bits / 8), passing)


def longest_context(config: NetworkConfig, question: Question, kind: WeightKind, room: int) -> int | None:
    """Return the most tokens that fit so many bytes, up to what the network's positions allow; None where none do."""
    most = config.max_tokens or 2**20
    if sizes_of(config, question, kind, 1).total > room:
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sizes_of(config, question, kind, middle).total <= room else (low, middle - 1)
    return low if low < _LATE else low // _LATE * _LATE


def _held_in(question: Question) -> str:
    return {"auto": "fp16", "bf16-true": "bf16"}.get(question.precision, question.precision)


def _weights(config: NetworkConfig, kind: WeightKind) -> int:
    rest = config.num_parameters - config.num_linear
    rest_bits = kind.bits if kind.rest_bits is None else kind.rest_bits
    return int((config.num_linear * kind.bits + rest * rest_bits) / 8)


def _row(
    network: Network, question: Question, card: AskedCard, context: int, name: str, kind: WeightKind
) -> CardAnswer:
    config, tokens = network.config, network.tokens
    if config is None or tokens is None:
        raise ConfigurationError(f"{network.what} has no tokens to write: ask without --task infer")
    if not config.kv_layers:
        raise ConfigurationError(
            f"what {network.what} keeps of each token is not known: a {config.model_type} has a cache of its own"
        )
    usable, above = bytes_from_gib(card.usable_gib), 1 + load_accuracy().kinds["attention"].above
    sizes = sizes_of(config, question, kind, tokens)
    middle, upper = context + sizes.total, context + int(sizes.total * above)
    verdict: FitVerdict = "fits" if upper <= usable else "barely" if middle <= usable else "no"
    seconds, limit = _time(sizes, card)
    room = int((usable - context) / above)
    parts = f"{rounded_gib(sizes.weights):g} + cache {rounded_gib(sizes.keys_and_values):g} GiB"
    return CardAnswer(
        card=card.name,
        card_gib=card.card.memory_gib,
        verdict=verdict,
        usable_gib=round(card.usable_gib, 2),
        middle_gib=rounded_gib(middle),
        upper_gib=rounded_gib(upper),
        how=f"{name} {parts}",
        seconds_per_step=seconds,
        limit=limit,
        largest_batch=_most_samples(config, question, kind, tokens, room),
        longest_context=longest_context(config, question, kind, room),
        levers=() if verdict == "fits" else _levers(config, question, kind, tokens, sizes, room),
    )


def _time(sizes: Sizes, card: AskedCard) -> tuple[float, Bottleneck]:
    """Return the time of a token: all weights, keys and values are read once for it."""
    rate = ACHIEVED_BANDWIDTH * card.card.bandwidth_gb_per_s * 1e9
    return (sizes.weights + sizes.keys_and_values) / rate, "memory bandwidth"


def _most_samples(config: NetworkConfig, question: Question, kind: WeightKind, tokens: int, room: int) -> int | None:
    one = sizes_of(config, question.model_copy(update={"batch": 1}), kind, tokens)
    return max(0, (room - one.weights) // max(1, one.total - one.weights)) or None


def _levers(
    config: NetworkConfig, question: Question, kind: WeightKind, tokens: int, sizes: Sizes, room: int
) -> tuple[Lever, ...]:
    """Return smaller weights, a smaller cache and fewer tokens, those that save something, the most first."""
    found = [
        _lever(f"weights_{name.lower()}", sizes.total - other, f"--weights {name}", costs, other <= room)
        for name, costs in (("int8", "some speed"), ("Q4_K_M", "some quality"), ("Q3_K_S", "much quality"))
        if (other := sizes_of(config, question, KINDS[name], tokens).total) < sizes.total
    ]
    half_cache = sizes.keys_and_values // 2
    if question.kv_bits > 8:
        fits = sizes.total - half_cache <= room
        found.append(_lever("kv_8_bits", half_cache, "--kv-bits 8: a quantized cache", "a little quality", fits))
    shorter = sizes.total - sizes_of(config, question, kind, max(1, tokens // 2)).total
    found.append(_lever("half_context", shorter, "half the --tokens", "context", sizes.total - shorter <= room))
    return tuple(sorted((lever for lever in found if lever.saves_gib > 0), key=lambda lever: -lever.saves_gib))


def _lever(name: str, saves: int, how: str, costs: str, fits: bool) -> Lever:
    return Lever(name=name, saves_gib=rounded_gib(saves), how=how, costs=costs, then="fits" if fits else "no")
