"""The cards of a question: by name, all of 8 GB, or the one in this machine; and what of each a run may take."""

from collections.abc import Sequence
from difflib import get_close_matches

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.fitting.question import Question
from eightgig.vram.cards.catalog import Card, card_named, cards
from eightgig.vram.cards.found import card_found
from eightgig.vram.tracing.workspace import Generation, generation_on

ALL_8GB, FOUND = "all-8gb", "found"
_EIGHT = (7.5, 8.5)  # GiB: cards of 8 GB by what is on the box


class AskedCard(Record):
    """A card, and what of it a run may take, the CUDA context included."""

    card: Card
    usable_gib: float

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    @property
    def generation(self) -> Generation:
        """The generation whose constants of workspace memory count."""
        return generation_on("cuda", self.card.generation)


def asked_cards(names: str | Sequence[str], question: Question) -> tuple[AskedCard, ...]:
    """Return the cards of these names, each once.

    Raises:
        ConfigurationError: the catalog has none of a name, or `found` finds none.
    """
    listed = [names] if isinstance(names, str) else list(names)
    found = {card.name: card for name in listed for card in _cards_of(name)}
    return tuple(AskedCard(card=card, usable_gib=_usable_gib(card, question)) for card in found.values())


def _usable_gib(card: Card, question: Question) -> float:
    left = card.memory_gib - question.display_gib
    if left <= 0:
        raise ConfigurationError(
            f"--display {question.display_gib:g} leaves nothing of the {card.memory_gib:g} GiB of the {card.name}: it "
            "is in GiB, and a desktop takes about 0.5 to 1"
        )
    return left if question.budget_gib is None else min(left, question.budget_gib)


def _cards_of(name: str) -> tuple[Card, ...]:
    if name == ALL_8GB:
        return tuple(card for card in cards() if _EIGHT[0] <= card.memory_gib <= _EIGHT[1])
    if name == FOUND:
        card = card_found()
        if card is None:
            raise ConfigurationError(
                "--card found: the driver shows no card here (eightgig doctor says why); name one of `eightgig cards`"
            )
        return (card,)
    return (_named(name),)


def _named(name: str) -> Card:
    try:
        return card_named(name)
    except ConfigurationError:
        raise ConfigurationError(_nearest(name)) from None


def _nearest(name: str) -> str:
    known = {_plain(card.name): card.name for card in cards()}
    near = [known[each] for each in get_close_matches(_plain(name), known, n=3, cutoff=0.6)]
    begun = [card for plain, card in known.items() if plain.startswith(_plain(name))]
    meant = " or ".join(dict.fromkeys([*begun, *near][:3]))
    return f"there is no card {name!r}: {f'did you mean {meant}? ' if meant else ''}`eightgig cards` lists all"


def _plain(name: str) -> str:
    return "".join(name.lower().replace("nvidia", "").replace("geforce", "").split())
