"""Graphics cards: what a plan and its time are computed from, and the card that is found in this machine.

`cards.json` holds the figures with their sources. Tensor figures are dense, with float32 accumulation: what training
runs at. Advertised figures are up to 8 times these (sparse, float16 accumulation, FP8 or FP4).
"""

import json
from functools import lru_cache
from importlib.resources import files

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.core.units import bytes_from_gib
from eightgig.vram.plan import Precision

# Of one lane in one direction, after line coding (PCI Express base specification).
_PCIE_LANE_GB_PER_S = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}


def pcie_gb_per_s(generation: int, lanes: int) -> float:
    """Return what lanes of PCI Express of a generation move in one direction, in 10^9 bytes a second."""
    return _PCIE_LANE_GB_PER_S[generation] * lanes


class Card(Record):
    """One graphics card. Rates are decimal (10^9 a second), memory is binary (2^30 bytes), as makers write them.

    Attributes:
        nvml_names: what the driver calls it; two cards may share a name and differ in memory.
        generation: the architecture's name.
        base_mhz: the official clock that the card never falls below; None where it is not known.
        boost_mhz: the official boost clock; real clocks are often higher.
        fp32_tflops: of the CUDA cores.
        tf32_tflops: of the tensor cores on float32 inputs; None before Ampere.
        fp16_tflops: of the tensor cores, dense, float32 accumulation; `bf16_tflops` likewise.
        int8_tops: of the tensor cores, dense.
        system_power_w: the power supply that the maker asks for, for a machine with one such card.
        nvlink_gb_per_s: both directions together; None where there is none.
        launch_price_usd: the maker's price on the day it came; None where there was none.
        launched: the day, as ISO 8601.
        sources: where the figures are from.
        unverified: names of the fields that no source at hand confirmed.
    """

    name: str
    nvml_names: tuple[str, ...] = ()
    chip: str = ""
    generation: str
    compute_capability: tuple[int, int]
    memory_gib: float
    memory_bus_bits: int
    bandwidth_gb_per_s: float
    cuda_cores: int
    num_sms: int
    base_mhz: int | None = None
    boost_mhz: int
    fp32_tflops: float
    tf32_tflops: float | None
    fp16_tflops: float | None
    bf16_tflops: float | None
    int8_tops: float | None
    tdp_w: int | None
    system_power_w: int | None = None
    pcie_generation: int
    pcie_lanes: int
    nvlink_gb_per_s: float | None = None
    launch_price_usd: int | None = None
    launched: str | None = None
    sources: tuple[str, ...]
    unverified: tuple[str, ...] = ()

    @property
    def memory_bytes(self) -> int:
        """The whole memory in bytes."""
        return bytes_from_gib(self.memory_gib)

    @property
    def pcie_gb_per_s(self) -> float:
        """What its PCI Express lanes move in one direction, in a slot as good as the card."""
        return pcie_gb_per_s(self.pcie_generation, self.pcie_lanes)

    def peak_flops(self, precision: Precision, *, tensor_cores: bool) -> float:
        """Return floating-point operations a second at most.

        Args:
            precision: of the inputs.
            tensor_cores: whether float32 may run as TF32; half precision always uses the tensor cores.
        """
        half = self.fp16_tflops if precision == "fp16" else self.bf16_tflops
        chosen = (self.tf32_tflops if tensor_cores else None) if precision == "fp32" else half
        return (self.fp32_tflops if chosen is None else chosen) * 1e12


class ArticleFigure(Record):
    """What the article says of a card in one figure, and the field of the catalog that answers it.

    Attributes:
        note: what a reader should know beside the two figures.
    """

    chapter: str
    card: str
    quantity: str
    field: str
    claimed: float
    unit: str
    note: str = ""

    @property
    def found(self) -> float | None:
        """The catalog's figure."""
        value: float | None = getattr(card_named(self.card), self.field)
        return value

    @property
    def is_right(self) -> bool | None:
        """Whether the two agree to 1 %, which allows for rounding; None where the catalog has no figure."""
        return None if self.found is None else abs(self.claimed - self.found) <= 0.01 * self.found


def cards() -> tuple[Card, ...]:
    """Return the whole catalog, the article's cards first in each generation."""
    return tuple(Card.model_validate(values) for values in _catalog()["cards"])


def card_named(name: str) -> Card:
    """Return a card by its name, for example `RTX 3070`; case, `NVIDIA` and `GeForce` play no part.

    Raises:
        ConfigurationError: the catalog has no such card; the message names those it has.
    """
    wanted = _plain(name)
    found = next((card for card in cards() if _plain(card.name) == wanted), None)
    if found is None:
        known = ", ".join(card.name for card in cards())
        raise ConfigurationError(f"no card {name!r} in the catalog. It has: {known}.")
    return found


def article_figures() -> tuple[ArticleFigure, ...]:
    """Return every figure of hardware that the article states (chapters 1, 4.3 and 6.2)."""
    return tuple(ArticleFigure.model_validate(values) for values in _catalog()["article_figures"])


@lru_cache(maxsize=1)
def _catalog() -> dict[str, list[dict[str, object]]]:
    content: dict[str, list[dict[str, object]]] = json.loads(
        files(__package__).joinpath("cards.json").read_text(encoding="utf-8")
    )
    return content


def _plain(name: str) -> str:
    return "".join(name.lower().replace("nvidia", "").replace("geforce", "").split())
