"""Buffers are copied and put back, whatever they are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from eightgig.vram.runtime import buffers
from eightgig.vram.runtime.buffers import BufferCopies

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool)


def module_of(shapes_and_types):
    module = nn.Module()
    for number, (shape, dtype) in enumerate(shapes_and_types):
        module.register_buffer(f"buffer_{number}", (torch.rand(shape) * 9).to(dtype))
    return module


@given(st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=3), st.sampled_from(DTYPES)), max_size=6))
def test_whatever_they_are_they_come_back(shapes_and_types):
    module = module_of(shapes_and_types)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    copies = BufferCopies(module)
    for _ in range(2):  # the second time into memory that is there
        copies.take()
        for buffer in module.buffers():
            buffer.zero_()
        copies.restore()
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_a_buffer_that_was_replaced_is_the_old_tensor_again():
    module = module_of([((3,), torch.float32)])
    old = module.buffer_0
    copies = BufferCopies(module)
    copies.take()
    module.buffer_0 = old + 1
    copies.restore()
    assert module.buffer_0 is old


def test_a_buffer_of_another_shape_gets_other_room():
    module = module_of([((3,), torch.float32), ((2,), torch.int64)])
    copies = BufferCopies(module)
    copies.take()
    module.buffer_0 = torch.arange(5.0)
    copies.take()
    module.buffer_0.zero_()
    copies.restore()
    assert module.buffer_0.tolist() == [0, 1, 2, 3, 4]


def test_small_ones_are_copied_in_one_call_a_type(monkeypatch):
    """150 to 230 copies of their own took 3 to 5 ms a step on a card."""
    module = module_of([((7,), torch.float32)] * 200 + [((), torch.int64)] * 100)
    copies = BufferCopies(module)
    copies.take()
    calls = []
    copy = torch._foreach_copy_
    monkeypatch.setattr(torch, "_foreach_copy_", lambda *lists: calls.append(len(lists[0])) or copy(*lists))
    monkeypatch.setattr(torch.Tensor, "copy_", lambda *_, **__: pytest.fail("a copy of its own"))
    copies.take()
    copies.restore()
    assert calls == [200, 100, 200, 100]
    assert [len(flat) for flat in copies.tensors] == [1400, 100]


def test_large_ones_do_not_stand_twice_where_they_are(monkeypatch):
    monkeypatch.setattr(buffers, "_LARGE_BYTES", 64)
    module = module_of([((4,), torch.float32), ((100,), torch.float32)])
    copies = BufferCopies(module)
    copies.take()
    module.buffer_1.zero_()
    copies.restore()
    assert module.buffer_1.any()
    assert sum(len(flat) for flat in copies.tensors) == 4


@pytest.mark.gpu
def test_on_a_card(monkeypatch):
    monkeypatch.setattr(buffers, "_LARGE_BYTES", 64)
    module = module_of([((4,), torch.float32), ((), torch.int64), ((1000,), torch.float32)]).cuda()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    copies = BufferCopies(module)
    copies.take()
    for buffer in module.buffers():
        buffer.zero_()
    copies.restore()
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
