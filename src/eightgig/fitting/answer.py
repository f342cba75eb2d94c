"""What is answered: a row a card, what would make it fit, and how much more would."""

from typing import Literal

from eightgig.core.records import Record
from eightgig.core.units import gib
from eightgig.fitting.question import Question
from eightgig.vram.plan import Bottleneck, MemoryPlan

FitVerdict = Literal["fits", "barely", "no"]
_STATUS: dict[FitVerdict, int] = {"fits": 0, "barely": 0, "no": 1}


class Lever(Record):
    """What would save memory where it is short.

    Attributes:
        name: short and stable.
        saves_gib: about, for this network.
        how: what to do.
        costs: what it is paid with.
        then: the verdict on the card once it is done, where that was looked at.
        then_gib: the upper end then.
    """

    name: str
    saves_gib: float
    how: str
    costs: str = ""
    then: FitVerdict | None = None
    then_gib: float | None = None


class CardAnswer(Record):
    """Whether it fits one card. All sizes hold the CUDA context.

    Attributes:
        usable_gib: of the card, less what a desktop takes, or the budget.
        middle_gib: what is expected; None where not even weights, gradients and state fit, so that nothing was traced.
        upper_gib: what 95 % of runs stay below, which is planned for; where nothing was traced what is held at least.
        plan: how it runs; None where nothing fits, and for answers by a closed form.
        how: the plan in words; of what does not fit, what comes nearest.
        seconds_per_step: of an optimizer step, or of a token that is written.
        limit: what it waits for.
        largest_batch: samples that pass at a time, about, with the plan's other settings.
        longest_context: tokens, about, with the plan's other settings.
        levers: what would make it fit, or save; the most first.
        why: in one sentence, where it does not fit.
    """

    card: str
    card_gib: float
    verdict: FitVerdict
    usable_gib: float
    middle_gib: float | None = None
    upper_gib: float
    how: str = ""
    seconds_per_step: float | None = None
    limit: Bottleneck | None = None
    largest_batch: int | None = None
    longest_context: int | None = None
    levers: tuple[Lever, ...] = ()
    findings: tuple[str, ...] = ()
    why: str = ""
    plan: MemoryPlan | None = None

    @property
    def needs(self) -> str:
        """The middle and the upper end, for a table."""
        upper = f"{self.upper_gib:.1f}"
        return f"at least {upper}" if self.middle_gib is None else f"{self.middle_gib:.1f} to {upper}"


class FitAnswer(Record):
    """The answer to one question, a row a card.

    Examples:
        mymodel.py is that of `predict_memory`.

        >>> import eightgig
        >>> answer = eightgig.fit("mymodel:make", card="RTX 3070", batch=16)
        >>> answer.verdict, answer.rows[0].card
        ('fits', 'RTX 3070')

    Attributes:
        what: as it was asked for.
        name: of the network.
        sample: the size of one sample, in words.
        batch: samples an optimizer step.
        num_parameters: None of a network of one's own, where nobody counted.
        seconds: that the answer took.
        method: how it was found.
        notes: what a person should know beside the rows.
    """

    what: str
    name: str
    question: Question
    sample: str
    batch: int
    num_parameters: int | None = None
    rows: tuple[CardAnswer, ...]
    seconds: float = 0.0
    method: str
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> FitVerdict:
        """The worst of all rows."""
        order: tuple[FitVerdict, ...] = ("no", "barely", "fits")
        return min((row.verdict for row in self.rows), key=order.index)

    @property
    def status(self) -> int:
        """The exit status: 0 where it fits every card that was asked for, 1 where one of them is too small."""
        return max(_STATUS[row.verdict] for row in self.rows)

    def row(self, card: str) -> CardAnswer:
        """Return the row of a card by its name in the catalog."""
        return next(row for row in self.rows if row.card == card)

    def _repr_html_(self) -> str:
        from eightgig.fitting.page import table_of

        return table_of(self)


def rounded_gib(num_bytes: float) -> float:
    """Return GiB with two digits, as many as a prediction is worth."""
    return round(gib(num_bytes), 2)
