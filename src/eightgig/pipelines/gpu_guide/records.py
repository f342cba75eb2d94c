"""What the guide says, as records."""

from typing import Literal

from eightgig.core.records import Record
from eightgig.vram.cards.catalog import Card

Limit = Literal["memory", "compute", "memory bandwidth", "launch", "loader"]
Verdict = Literal["supported", "contradicted", "partly", "not tested"]


class GuideRow(Record):
    """One workload on one card.

    Attributes:
        name: the workload's short name.
        as_in_article: whether this is the article's own way of running it, with no regard to what fits.
        fits: whether a plan was found within the card's memory.
        activation_checkpointing: `none` unless activations are recomputed.
        offload: whether activations wait in the machine's memory.
        memory_gib: what the card should have, the CUDA context included: the upper end of what is predicted.
        fits_barely: whether only the middle of what is predicted fits.
        reserved_gib: what the card shows as used where nothing stops the allocator, the context included.
        weight_bytes: of weights and buffers, in float32: as many bytes of gradients would several cards exchange.
        samples_per_second: by the card alone.
        epoch_minutes: with the loader, where it is the slower.
        limit: what to improve next: `memory` where the plan pays with time for fitting, or does not fit.
        loads_images: whether a loader must decode files for it.
        findings: codes.
        remark: why it does not fit, and what would; or why nothing could be predicted.
    """

    name: str
    title: str
    chapter: str
    card: str
    as_in_article: bool = False
    sample: str
    effective_batch: int
    fits: bool
    micro_batch: int | None = None
    gradient_accumulation_steps: int | None = None
    precision: str | None = None
    attention: str | None = None
    activation_checkpointing: str | None = None
    offload: bool = False
    optimizer_kernel: str | None = None
    memory_gib: float | None = None
    reserved_gib: float | None = None
    card_gib: float
    margin_gib: float | None = None
    fits_barely: bool = False
    weight_bytes: int | None = None
    seconds_per_step: float | None = None
    samples_per_second: float | None = None
    epoch_minutes: float | None = None
    limit: Limit | None = None
    loads_images: bool = False
    findings: str = ""
    remark: str = ""


class Guide(Record):
    """All that was planned in one run.

    Attributes:
        cards: in the order of the tables; the found one last.
        found_card: the name of this machine's card, where there is one.
        rows: every workload on every card.
        article_rows: the article's own way of running its workloads, on the reference card.
        reference_card: speeds are stated against it.
        cores: CPU cores that load data.
        driver_needed: the oldest driver that this torch build runs on; None for a build without CUDA.
    """

    cards: tuple[Card, ...]
    found_card: str | None = None
    rows: tuple[GuideRow, ...]
    article_rows: tuple[GuideRow, ...] = ()
    reference_card: str
    cores: int
    driver_needed: int | None = None
    torch_version: str = ""

    def card(self, name: str) -> Card:
        """Return a card of this run by its name."""
        return next(card for card in self.cards if card.name == name)

    def row(self, name: str, card: str) -> GuideRow | None:
        """Return a workload on a card, or None where it was not planned."""
        return next((row for row in self.rows if (row.name, row.card) == (name, card)), None)

    def article_row(self, name: str) -> GuideRow | None:
        """Return the article's own way of running a workload."""
        return next((row for row in self.article_rows if row.name == name), None)


class Answer(Record):
    """The answer to one of the article's claims.

    Attributes:
        kind: a `claim` on what can be done, or a `figure` of hardware.
        found: this run's figure, with its unit.
        basis: where it is from: predicted without a GPU, the catalog, or documentation.
    """

    kind: Literal["claim", "figure"] = "claim"
    chapter: str
    claim: str
    claimed: str
    found: str
    verdict: Verdict
    basis: str
    remark: str = ""


class Claim(Record):
    """One claim of the article.

    Attributes:
        rule: the name of the function that answers it.
        low: the claimed range's lower end; equal to `high` where the article gives one figure.
    """

    chapter: str
    claim: str
    rule: str
    workload: str = ""
    card: str = ""
    low: float | None = None
    high: float | None = None
    unit: str = ""
    remark: str = ""

    @property
    def claimed(self) -> str:
        """Write the claimed figure."""
        if self.low is None:
            return ""
        high = "" if self.high in (None, self.low) else f" to {self.high:g}"
        return f"{self.low:g}{high} {self.unit}".strip()

    def answered(self, found: str, verdict: Verdict, basis: str, remark: str = "") -> Answer:
        """Return the answer to this claim."""
        return Answer(
            chapter=self.chapter,
            claim=self.claim,
            claimed=self.claimed,
            found=found,
            verdict=verdict,
            basis=basis,
            remark=remark,
        )


def not_planned(claim: Claim) -> Answer:
    """Return the answer to a claim on what this run left out."""
    return claim.answered("", "not tested", "", "not planned in this run: its workload or card was left out")
