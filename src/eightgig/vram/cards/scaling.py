"""Several cards: what data parallel training (DDP) gains over PCI Express or NVLink, and the power it asks for."""

from typing import Literal

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.vram.cards.catalog import Card

# Share of the link's bandwidth at which gradients are exchanged, less what the backward pass hides. From published runs
# of ResNet-50 on two RTX 3070 (94 % of twice one card; 102 MB of gradients and 0.29 s a step of 120 images:
# lambdal/deeplearning-benchmark, results/3070): 5.8 of the 31.5 GB/s of PCI Express 4.0 x16. GeForce cards exchange
# through main memory, and their lanes share the way there: on eight cards it was 83 %.
ACHIEVED_LINK = 0.185
# A desktop CPU and board give 16 lanes to one card, or 8 to each of two.
_LANES_OF_A_DESKTOP = 16
# NVLink bridges of cards join two; from this rate on it is a server's board, which joins all.
_NVLINK_OF_A_BOARD_GB_PER_S = 300
# What NVIDIA asks of a power supply beyond the card's own power: 650 W for the RTX 3070's 220, 750 W for the RTX
# 3080's 320 (the catalog's `system_power_w`). It covers the rest of the machine and short peaks of the card.
POWER_BESIDE_CARDS_W = 430


class DataParallel(Record):
    """Predicted speed of data parallel training.

    Attributes:
        link: what the gradients go over.
        exchange_seconds: of a step, beside the card's own work.
        efficiency: speed-up over one card, divided by the number of cards (0..1).
        speed_up: against one card.
    """

    num_cards: int
    link: Literal["PCI Express", "NVLink"]
    link_gb_per_s: float
    exchange_seconds: float
    efficiency: float
    speed_up: float


def data_parallel(
    step_seconds: float, gradient_bytes: int, card: Card, num_cards: int, *, shared_lanes: bool = False
) -> DataParallel:
    """Return the speed of `num_cards` cards that each do one step of their own and exchange their gradients.

    A ring all-reduce moves 2 (n - 1) / n of the gradients over each card's link.

    Args:
        step_seconds: of one card's step, accumulation included.
        gradient_bytes: of all trained weights.
        card: its own link is used: NVLink for two cards that have it, else PCI Express.
        num_cards: at least 1.
        shared_lanes: whether the cards share one desktop board's 16 lanes.
    """
    nvlink = _nvlink(card, num_cards)
    pcie = desktop_gb_per_s(card, num_cards) if shared_lanes else card.pcie_gb_per_s
    rate = nvlink / 2 if nvlink else pcie
    moved = 2 * (num_cards - 1) / num_cards * gradient_bytes
    exchange = moved / (ACHIEVED_LINK * rate * 1e9)
    efficiency = step_seconds / (step_seconds + exchange)
    return DataParallel(
        num_cards=num_cards,
        link="NVLink" if nvlink else "PCI Express",
        link_gb_per_s=rate,
        exchange_seconds=exchange,
        efficiency=efficiency,
        speed_up=num_cards * efficiency,
    )


def desktop_gb_per_s(card: Card, num_cards: int) -> float:
    """Return what each of several cards moves in one direction where they share one desktop board's 16 lanes."""
    return card.pcie_gb_per_s * min(1.0, _LANES_OF_A_DESKTOP / (card.pcie_lanes * num_cards))


def power_supply_w(card: Card, num_cards: int) -> int:
    """Return the watts that a machine's power supply should have for a number of these cards.

    Raises:
        ConfigurationError: the card's own power is not known.
    """
    if card.tdp_w is None:
        raise ConfigurationError(f"the power that {card.name} takes is not known: the driver does not say it.")
    return POWER_BESIDE_CARDS_W + num_cards * card.tdp_w


def _nvlink(card: Card, num_cards: int) -> float | None:
    rate = card.nvlink_gb_per_s
    return rate if rate and (num_cards == 2 or rate >= _NVLINK_OF_A_BOARD_GB_PER_S) else None
