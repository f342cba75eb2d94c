"""Verdicts by hand-made numbers: each is given where it is true, and not where it is not."""

import pytest
from tests.present import present

from eightgig.core.units import GIB, MIB
from eightgig.vram.runtime.diagnosis import (
    Shortage,
    another_process,
    diagnose,
    fragmentation,
    leak,
    requested_bytes,
    steady_growth,
    too_big,
    validation,
)


@pytest.fixture
def shortage():
    """7.0 of 7.5 GiB held by tensors, 7.1 reserved, 1 GiB more asked for, on a card with nobody else."""

    def make(**changes):
        numbers = {
            "device": "cuda",
            "phase": "train",
            "step": 100,
            "batch": 8,
            "requested_bytes": 1 * GIB,
            "allocated_bytes": 7 * GIB,
            "reserved_bytes": 7 * GIB + 100 * MIB,
            "free_bytes": 400 * MIB,
            "others_bytes": 0,
            "cap_bytes": 7 * GIB + 512 * MIB,
            "predicted_bytes": 7 * GIB,
            "step_starts": (2 * GIB,) * 20,
            "error": "OutOfMemoryError: CUDA out of memory.",
        }
        return Shortage(**{**numbers, **changes})

    return make


def test_another_process_holds_the_card(shortage):
    squeezed = shortage(reserved_bytes=3 * GIB, allocated_bytes=3 * GIB, free_bytes=100 * MIB, others_bytes=4 * GIB)
    diagnosis = present(another_process(squeezed))
    assert diagnosis.sentence == (
        "another process: other processes hold 4.0 GiB of the card, and only 100.0 MiB were free for a request of "
        "1.0 GiB; end them (nvidia-smi and make doctor name them), or lower plan.budget_gib by as much"
    )
    assert diagnose(squeezed) == diagnosis


@pytest.mark.parametrize(
    "changes",
    [
        {"free_bytes": 2 * GIB},  # the card had room: it was the cap
        {"others_bytes": 0},
        {"others_bytes": 100 * MIB},  # without them it would not have fitted either
        {"reserved_bytes": 7 * GIB},  # this process was at its own limit
        {"requested_bytes": None},
        {"free_bytes": None},
    ],
)
def test_not_another_process(shortage, changes):
    squeezed = {"reserved_bytes": 3 * GIB, "free_bytes": 100 * MIB, "others_bytes": 4 * GIB}
    assert another_process(shortage(**{**squeezed, **changes})) is None


def test_a_small_request_needs_a_whole_segment(shortage):
    numbers = {"reserved_bytes": 3 * GIB, "free_bytes": 10 * MIB, "others_bytes": 4 * GIB}
    assert another_process(shortage(requested_bytes=2 * MIB, **numbers))
    assert another_process(shortage(requested_bytes=2 * MIB, device="cpu", **numbers)) is None


def test_leak(shortage):
    leaking = shortage(step_starts=tuple(2 * GIB + step * 20 * MIB for step in range(20)))
    diagnosis = diagnose(leaking)
    assert (diagnosis.code, diagnosis) == ("leak", leak(leaking))
    assert "grew steadily by 340.0 MiB over 100 steps" in diagnosis.finding
    assert ".detach() or .item()" in diagnosis.advice


@pytest.mark.parametrize(
    "starts",
    [
        (),
        tuple(range(0, 7 * GIB, GIB)),  # too few steps to tell
        (2 * GIB,) * 10 + (3 * GIB,) * 10,  # one jump: validation made its workspace
        (1 * GIB, 2 * GIB) + (2 * GIB,) * 20,  # the first step makes what all later ones keep
        tuple(2 * GIB + (step % 2) * 500 * MIB for step in range(20)),  # up and down
        tuple(2 * GIB + step * 1024 for step in range(256)),  # too little to matter
        tuple(3 * GIB - step * 20 * MIB for step in range(20)),
    ],
)
def test_not_a_leak(shortage, starts):
    assert leak(shortage(step_starts=starts)) is None


def test_a_noisy_rise_is_steady():
    noise = [0, 3, 1, 4, 2]
    assert steady_growth([step * 10 + noise[step % 5] for step in range(40)]) > 300


def test_fragmentation(shortage):
    broken = shortage(allocated_bytes=5 * GIB, requested_bytes=1 * GIB)
    diagnosis = diagnose(broken)
    assert (diagnosis.code, diagnosis) == ("fragmentation", fragmentation(broken))
    assert diagnosis.finding == "2.1 GiB were free inside torch's allocator, but no piece had 1.0 GiB"
    assert "PYTORCH_ALLOC_CONF=expandable_segments:True (not on Windows)" in diagnosis.advice


@pytest.mark.parametrize("changes", [{}, {"requested_bytes": None}, {"device": "cpu", "allocated_bytes": GIB}])
def test_not_fragmentation(shortage, changes):
    assert fragmentation(shortage(**changes)) is None


def test_validation(shortage):
    assert validation(shortage()) is None
    diagnosis = diagnose(shortage(phase="validate", batch=64))
    assert diagnosis.finding == "memory ran out while validating 64 samples at a time, not while training"
    assert diagnosis.advice == "set train.eval_batch_size to 32 or less"


def test_simply_too_big(shortage):
    diagnosis = diagnose(shortage())
    assert diagnosis == too_big(shortage())
    assert diagnosis.finding == (
        "7.0 GiB were held and 1.0 GiB more asked for, of 7.5 GiB usable; the plan had predicted 7.0 GiB"
    )
    assert diagnosis.advice == (
        "set train.batch_size to 4 or less with more train.gradient_accumulation_steps, or set "
        "plan.activation_checkpointing=full or a 16-bit "
        "plan.precision, or take a smaller input or model, or raise plan.budget_gib if the card has more, or take a "
        "larger card"
    )


def test_one_request_that_is_too_big_alone(shortage):
    diagnosis = diagnose(shortage(requested_bytes=9 * GIB, predicted_bytes=None))
    assert diagnosis.finding == "7.0 GiB were held, and one request of 9.0 GiB alone is more than the 7.5 GiB usable"


def test_a_single_sample_is_not_told_to_halve(shortage):
    assert "batch_size" not in too_big(shortage(batch=1)).advice


@pytest.mark.parametrize("phase", ["optimizer", "outside"])
def test_where_the_batch_plays_no_part(shortage, phase):
    assert "a smaller batch does not help here" in too_big(shortage(phase=phase)).advice


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 7.78 GiB", 20 * MIB),
        ("CUDA out of memory. Tried to allocate 1.50 GiB. GPU", int(1.5 * GIB)),
        ("CUDA out of memory. Tried to allocate 512 bytes. GPU", 512),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12", 4096),
        ("CUDA out of memory. Tried to allocate more than 1EB memory.", None),
        ("", None),
    ],
)
def test_requested_bytes(message, expected):
    assert requested_bytes(message) == expected
