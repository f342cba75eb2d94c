"""The line on top of a page: how good the network is, whether it fits, and what to do next, in plain words."""

from eightgig.models.cards import WeightsCard
from eightgig.report.annotations import Table
from eightgig.report.page import Fact
from eightgig.vram.plan import MemoryPlan


def in_words(quality: Fact, card: WeightsCard, plan: MemoryPlan, benchmark: Table, history: Table) -> str:
    """Return two or three sentences.

    Args:
        quality: how good the network is, as in the headline.
        card: of the weights that were kept.
        plan: that the training kept to.
        benchmark: one row a variant.
        history: one row an epoch.
    """
    from eightgig.report.html import shown

    said = [
        f"{quality.label}: {shown(quality.value)}.",
        f"Training {plan.verdict} the budget of {plan.budget_gib:g} GiB.",
        *_choices(benchmark),
    ]
    if len(history) > 1 and card.best_epoch == history["epoch"].max():
        said.append("The last epoch was the best one: more of them (train.epochs) may still help.")
    return " ".join(said)


def _choices(benchmark: Table) -> list[str]:
    said = [
        f"On this {'CPU' if row['device'] == 'cpu' else 'GPU'} use {row['variant']}: {row['speedup_vs_torch']:.1f} x "
        "as fast as torch."
        for _, row in benchmark[benchmark["recommended"]].iterrows()
    ]
    return said or ["No exported form is both right and faster than torch here: below stands why."]
