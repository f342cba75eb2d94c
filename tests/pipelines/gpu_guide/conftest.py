"""A guide made by hand: three cards, workloads whose figures a person can check."""

from collections.abc import Callable

import pytest

from eightgig.pipelines.gpu_guide.records import Guide, GuideRow
from eightgig.vram.cards.catalog import card_named

GIB = 1024**3


def made_row(name: str, card: str, **more) -> GuideRow:
    values = {
        "name": name,
        "title": name.replace("_", " "),
        "chapter": "5.1",
        "card": card,
        "sample": "300 px",
        "effective_batch": 32,
        "fits": True,
        "micro_batch": 32,
        "gradient_accumulation_steps": 1,
        "precision": "fp16",
        "attention": "none",
        "activation_checkpointing": "none",
        "optimizer_kernel": "fused",
        "memory_gib": 6.0,
        "reserved_gib": 6.2,
        "card_gib": card_named(card).memory_gib,
        "weight_bytes": 43_400_000,
        "seconds_per_step": 0.1,
        "samples_per_second": 320.0,
        "epoch_minutes": 5.0,
        "limit": "memory bandwidth",
    }
    return GuideRow.model_validate({**values, **more})


def too_big(name: str, card: str) -> GuideRow:
    empty = (
        "micro_batch",
        "gradient_accumulation_steps",
        "precision",
        "attention",
        "activation_checkpointing",
        "optimizer_kernel",
        "memory_gib",
        "reserved_gib",
        "weight_bytes",
        "seconds_per_step",
        "samples_per_second",
        "epoch_minutes",
    )
    nothing = dict.fromkeys(empty)
    return made_row(name, card, fits=False, limit="memory", remark="needs 20.0 GiB", **nothing)


@pytest.fixture
def row() -> Callable[..., GuideRow]:
    return made_row


@pytest.fixture
def guide() -> Guide:
    """RTX 3070, 3090 and 4070. The 3090 is twice as fast, the 4070 one and a half times.

    `segmenter_4k` fits the 3090 alone; `gpt2_medium` recomputes on the 3070.
    """
    names = ("RTX 3070", "RTX 3090", "RTX 4070")
    speed = dict(zip(names, (1.0, 2.0, 1.5), strict=True))
    rows = [
        made_row(
            "flower_classifier",
            card,
            seconds_per_step=0.1 / speed[card],
            samples_per_second=320.0 * speed[card],
            epoch_minutes=5.0 / speed[card],
            loads_images=True,
        )
        for card in names
    ]
    rows += [
        made_row(
            "gpt2_medium",
            card,
            memory_gib=6.4 if card == "RTX 3070" else 8.5,
            activation_checkpointing="full" if card == "RTX 3070" else "none",
            limit="memory" if card == "RTX 3070" else "compute",
            weight_bytes=354_823_168 * 4,
            seconds_per_step=0.4 / speed[card],
            samples_per_second=2.5 * speed[card],
            epoch_minutes=None,
        )
        for card in names
    ]
    rows += [too_big("semantic_segmenter_4k", card) for card in ("RTX 3070", "RTX 4070")]
    rows.append(made_row("semantic_segmenter_4k", "RTX 3090", memory_gib=20.0, epoch_minutes=None))
    article = (
        made_row("flower_classifier", "RTX 3070", as_in_article=True, reserved_gib=5.7, epoch_minutes=6.7),
        made_row("gpt2_medium", "RTX 3070", as_in_article=True, reserved_gib=11.2, precision="fp32", fits=False),
    )
    return Guide(
        cards=tuple(card_named(name) for name in names),
        rows=tuple(rows),
        article_rows=article,
        reference_card="RTX 3070",
        cores=8,
        driver_needed=580,
        torch_version="2.14.1",
    )
