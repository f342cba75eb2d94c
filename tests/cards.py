"""Cards that only answer: `torch.cuda` and the driver played by hand, for tests of what is decided from them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from eightgig.core.units import GIB, MIB

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")  # torch 2.14.1+cu130


@dataclass
class FakeCard:
    """One card: what torch and the driver say of it, and the fractions its cap was set to."""

    name: str = "NVIDIA GeForce RTX 3070"
    uuid: str = "1"
    capability: tuple[int, int] = (8, 6)
    total_bytes: int = 8 * GIB
    free_bytes: int = 8 * GIB
    reserved_bytes: int = 0
    context_bytes: int | None = 300 * MIB  # as NVML tells it; None is what Windows' says
    has_context: bool = False
    fractions: list[float] = field(default_factory=lambda: [1.0])


def install(
    monkeypatch: pytest.MonkeyPatch,
    cards: Sequence[FakeCard],
    *,
    current: int = 0,
    spills: bool = False,
    built: tuple[str, ...] = ARCHITECTURES,
) -> None:
    """Let torch see these cards; `free_bytes` is what is free while no context of this process is there."""

    def one(index: int | None = None) -> FakeCard:
        return cards[current if index is None else index]

    def properties(index: int) -> SimpleNamespace:
        card = one(index)
        return SimpleNamespace(name=card.name, uuid=card.uuid, total_memory=card.total_bytes)

    def zeros(*_: object, **__: object) -> None:
        one().has_context = True

    def free_of(card: FakeCard) -> int:
        return card.free_bytes - (card.reserved_bytes + (card.context_bytes or 0) if card.has_context else 0)

    def used_of(uuid: str) -> int | None:
        card = by_uuid[uuid]
        return None if card.context_bytes is None else card.context_bytes + card.reserved_bytes

    by_uuid = {f"GPU-{card.uuid}": card for card in cards}
    predictions = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: len(cards),
        "current_device": lambda: current,
        "get_arch_list": lambda: list(built),
        "get_device_name": lambda index=None: one(index).name,
        "get_device_capability": lambda index=None: one(index).capability,
        "get_device_properties": properties,
        "empty_cache": lambda: None,
        "memory_reserved": lambda index=None: one(index).reserved_bytes,
        "mem_get_info": lambda index=None: (free_of(one(index)), one(index).total_bytes),
        "get_per_process_memory_fraction": lambda: one().fractions[-1],
        "set_per_process_memory_fraction": cards[current].fractions.append,
    }
    for name, answer in predictions.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch._C, "_cuda_hasPrimaryContext", lambda index: one(index).has_context)
    monkeypatch.setattr(torch, "zeros", zeros)
    reading = "eightgig.vram.runtime.card_memory"
    monkeypatch.setattr(f"{reading}.used_by_this_process", used_of)
    monkeypatch.setattr(f"{reading}.free_bytes_of", lambda uuid: free_of(by_uuid[uuid]))
    monkeypatch.setattr(f"{reading}.spills_here", lambda _: spills)
