"""What is offloaded, how much of the machine's memory that takes, and what is said when there is too little of it."""

import gc
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.present import present
from torch import nn

from eightgig.core.units import GIB, MIB
from eightgig.vram.runtime import offload
from eightgig.vram.runtime.diagnosis import Shortage, diagnose
from eightgig.vram.runtime.offload import ActivationOffload, HostMemoryError
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec

ANOTHER_DEVICE = torch.device("meta")


@pytest.fixture
def offloading():
    """Offloading in whose block packed things can be looked at."""
    return ActivationOffload(nn.Linear(2, 2))


@pytest.fixture
def from_here(monkeypatch):
    """Let tensors of the CPU be offloaded too, as if they were a card's."""
    monkeypatch.setattr(offload, "_is_on_the_host", lambda _: False)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(512, 512) for _ in range(6))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).sin()
        return x


def gradients(module, context=None):
    module.zero_grad()
    x = torch.rand(600, 512, generator=torch.Generator().manual_seed(0))
    if context is None:
        module(x).square().sum().backward()
    else:
        with context:
            loss = module(x).square().sum()
        loss.backward()
    return [present(weight.grad).clone() for weight in module.parameters()]


def test_gradients_are_the_same_and_memory_is_used_again(from_here):
    module = Net()
    expected, offloading = gradients(module), ActivationOffload(module)
    for _ in range(3):
        got = gradients(module, offloading.saving())
        assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))
        assert len(offloading._memory._slabs) == 1
        assert not offloading._memory._given


def test_tensors_of_a_graph_that_is_still_there_are_not_overwritten(from_here):
    module = Net()
    expected, offloading = gradients(module), ActivationOffload(module)
    module.zero_grad()
    x = torch.rand(600, 512, generator=torch.Generator().manual_seed(0))
    with offloading.saving():
        first = module(x).square().sum()
    with offloading.saving():
        module(2 * x).square().sum()  # not gone backward through
    first.backward()
    assert all(
        torch.equal(present(weight.grad), other) for weight, other in zip(module.parameters(), expected, strict=True)
    )


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.permutations(range(4)),
    st.sampled_from([torch.float32, torch.float16, torch.bool, torch.int64]),
    st.integers(0, 2),
)
def test_any_layout_comes_back(sizes, order, dtype, first):
    tensor = (torch.rand(sizes) * 3).to(dtype).permute([place for place in order if place < len(sizes)])
    tensor = tensor[first:] if first < len(tensor) else tensor  # a part of another tensor, not all of its memory
    memory, queue = offload._HostMemory(), offload._Queue(torch.device("cpu"))
    back = queue.back(queue.out(tensor, memory))
    assert torch.equal(back, tensor)
    if offload._is_dense(tensor):
        assert back.stride() == tensor.stride()


def test_an_expanded_mask_stays(offloading):
    """It has stride 0, so that it cannot be written; and it is smaller than it looks."""
    mask = torch.empty(8, 1, 512, 512, device=ANOTHER_DEVICE).expand(8, 12, 512, 512)
    with offloading.saving():
        assert offloading._out(mask) is mask


def test_weights_and_their_views_stay():
    module = nn.Linear(1024, 1024, device=ANOTHER_DEVICE)
    offloading = ActivationOffload(module)
    with offloading.saving():
        transposed = module.weight.t()
        assert offloading._out(transposed) is transposed
        assert offloading._out(module.weight) is module.weight


def masked_attention():
    """A layer of attention with a mask of 0s that is the same for all heads, as transformers makes it."""

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(256, 768)

        def forward(self, x_NTC, mask_NT):
            query, key, value = self.inner(x_NTC).view(*x_NTC.shape[:2], 4, 192).transpose(1, 2).chunk(3, -1)
            mask = mask_NT[:, None, None, :].expand(-1, 4, x_NTC.shape[1], -1).to(query.dtype)
            scores = query @ key.transpose(-1, -2) + mask[:, :1].expand(-1, 4, -1, -1)
            return (scores.softmax(-1) @ value).sum() + (scores * mask[:, :1].expand(-1, 4, -1, -1)).sum()

    def batch(num):
        return torch.zeros(num, 512, 256), torch.zeros(num, 512)

    return Layer(), lambda module, made: module(*made), batch


@pytest.fixture
def address(monkeypatch, project_path):
    monkeypatch.syspath_prepend(str(project_path))
    return (
        f"{__name__}:masked_attention" if __name__.startswith("tests") else "tests.vram.test_offload:masked_attention"
    )


def test_offloading_with_attention_masks_is_traced(address):
    with Predictor() as predictor:
        plain, moved = (
            predictor.predict(WorkloadSpec.of(address), StepOptions(micro_batch=4, offload=offloads))
            for offloads in (False, True)
        )
    assert moved.peak_allocated < plain.peak_allocated


def test_the_machines_memory_is_not_rounded_up_to_a_power_of_two(monkeypatch):
    """torch rounds each page-locked block up: 33 MiB take 64. Slabs are powers of two, and filled."""
    asked = []
    monkeypatch.setattr(
        offload, "_slab", lambda *, pinned: asked.append(pinned) or torch.empty(64 * MIB, dtype=torch.uint8)
    )
    memory = offload._HostMemory()
    pieces = [memory.take(33 * MIB, pinned=True) for _ in range(10)]
    assert [sum(len(piece) for piece in taken) for taken in pieces] == [33 * MIB] * 10
    assert asked == [True] * 6  # 384 MiB, where 10 x 64 would have been 640
    starts = sorted((piece.data_ptr(), len(piece)) for taken in pieces for piece in taken)
    assert all(at + size <= following for (at, size), (following, _) in pairwise(starts))
    del pieces
    gc.collect()
    memory.reuse()
    memory.take(33 * MIB, pinned=True)
    assert len(asked) == 6


def test_too_little_memory_of_the_machine_is_not_taken_for_a_full_card(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be")

    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(
        HostMemoryError, match=r"the machine's memory ran out .* tried to allocate 64\.0 MiB .*CUDA err"
    ):
        offload._HostMemory().take(MIB, pinned=True)


@pytest.mark.parametrize(("device", "code"), [("cuda", "host_memory"), ("cpu", "too_big")])
def test_the_verdict_names_the_machines_memory(device, code):
    shortage = Shortage(
        device=device,
        phase="train",
        step=3,
        batch=8,
        requested_bytes=64 * MIB,
        allocated_bytes=GIB,
        reserved_bytes=GIB,
        free_bytes=GIB,
        others_bytes=0,
        cap_bytes=7 * GIB,
        predicted_bytes=GIB,
        error="HostMemoryError: the machine's memory ran out",
        of_host=True,
    )
    diagnosis = diagnose(shortage)
    assert diagnosis.code == code
    if code == "host_memory":
        assert "the machine's memory ran out, not the card's" in diagnosis.sentence
        assert "plan.offload to never" in diagnosis.advice


@pytest.mark.gpu
def test_on_a_card_gradients_are_the_same_and_less_is_held():
    module = Net().cuda()
    x = torch.rand(20_000, 512, device="cuda")

    def step(offloading):
        module.zero_grad()
        torch.cuda.reset_peak_memory_stats()
        if offloading is None:
            loss = module(x).square().sum()
        else:
            with offloading.saving():
                loss = module(x).square().sum()
        loss.backward()
        torch.cuda.synchronize()
        return [present(weight.grad).clone() for weight in module.parameters()], torch.cuda.max_memory_allocated()

    step(None)
    expected, all_there = step(None)
    offloading = ActivationOffload(module)
    for _ in range(3):
        got, peak = step(offloading)
        assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))
        assert peak < 0.75 * all_there


@pytest.mark.gpu
def test_on_a_card_masks_of_attention_may_be_offloaded_over():
    module, loss, batch = masked_attention()
    module, made = module.cuda(), [part.cuda() for part in batch(4)]
    loss(module, made).backward()
    expected = [present(weight.grad).clone() for weight in module.parameters()]
    module.zero_grad()
    with ActivationOffload(module).saving():
        moved = loss(module, made)
    moved.backward()
    assert all(torch.allclose(w.grad, one, rtol=1e-4) for w, one in zip(module.parameters(), expected, strict=True))
