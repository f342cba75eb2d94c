"""The tracer: sees every op of a step on the fake accelerator, and writes down what memory it takes and gives back."""

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from eightgig.vram.allocator.events import AllocationTrace, Event, Mark, OpCost, StepBoundary, WorkspaceUse
from eightgig.vram.allocator.kernels import CublasHandle
from eightgig.vram.plan import Category
from eightgig.vram.tracing.fake_device import is_on_device
from eightgig.vram.tracing.op_facts import OpFacts, facts_of
from eightgig.vram.tracing.subclasses import parts_of

# In the backward pass these write into their first input on a real GPU. Torch makes a copy first only because a fake
# tensor is a tensor subclass (`areAnyTensorSubclassLike` in torch/csrc/autograd/FunctionsManual.cpp).
_IN_PLACE_ON_A_GPU = {"aten::scatter_add", "aten::index_put", "aten::index_add", "aten::_index_put_impl"}
_DEVICE_OF = torch.ops.prim.device.default
_VALUE_OF = torch.ops.aten._local_scalar_dense.default
_STEP_COUNT = 10.5  # read of a step counter, which has no value: any serves that no optimizer divides by zero for
_KNOWN = {"aten", "prims", "bitsandbytes"}  # of the last, kernels are in `quantized.py`
_SPARSE_ARGUMENT = {"aten::embedding": 4, "aten::_embedding_bag": 5}  # the place of `sparse`
_COMPUTE_NOTHING = {"profiler", "prim"}  # marks, and questions about a tensor
# They write into their inputs and take nothing, and torch has none of them for tensors without values.
_FUSED_STEPS = {"aten::_fused_sgd_", "aten::_fused_adagrad_"}


@lru_cache
def _unpacks_itself(kind: Any) -> bool:
    return hasattr(kind, "__tensor_flatten__") and kind.__torch_dispatch__ is not FakeTensor.__torch_dispatch__


def _refuse_sparse(op: str, args: Any) -> None:
    # Autograd of a tensor without values ends the process where a gradient is sparse.
    if torch.is_grad_enabled() and args[0].requires_grad and args[_SPARSE_ARGUMENT[op] :][:1] == (True,):
        raise NotImplementedError(f"gradients are sparse ({op}), and how large they are depends on values")


class _Block(NamedTuple):
    number: int
    num_bytes: int


class _GradientSum(NamedTuple):
    """A sum of two gradients: its result takes the block of whichever input dies before the next op.

    The autograd engine adds into the first gradient that nobody else holds (torch/csrc/autograd/input_buffer.cpp), but
    never does so with tensor subclasses, of which a fake tensor is one.
    """

    storage: int
    num_bytes: int
    owner: str
    inputs: frozenset[int]


class Tracer(TorchDispatchMode):
    """Records storages of the fake accelerator from the op that makes them to the moment when nothing holds them."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.records_costs = False
        self._events: list[Event] = []
        self._marks: list[Mark] = [Mark(0, "build")]
        self._steps: list[StepBoundary] = []
        self._workspaces: list[WorkspaceUse] = []
        self._costs: list[OpCost] = []
        self._categories: dict[int, Category] = {}
        self._owners: dict[int, str] = {}
        self._live: dict[int, _Block] = {}
        self._weakrefs: dict[int, weakref.ref[Any]] = {}
        self._sum: _GradientSum | None = None
        self._phase = "build"
        self._modules: dict[int, list[str]] = {}
        self._threads_with_matmul: set[int] = set()
        self._predicted_as: dict[str, None] = {}

    def remark(self, predicted_as: str) -> None:
        """Note what is predicted as something else, in a sentence."""
        self._predicted_as[predicted_as] = None

    def trace(self) -> AllocationTrace:
        """Return what was recorded so far."""
        self._settle_sum()
        return AllocationTrace(
            events=tuple(self._events),
            categories=self._categories,
            owners=self._owners,
            marks=tuple(self._marks),
            steps=tuple(self._steps),
            workspaces=tuple(self._workspaces),
            costs=tuple(self._costs),
            predicted_as=tuple(self._predicted_as),
        )

    def step_boundary(self) -> None:
        """Note that an optimizer step begins or ends here."""
        self._steps.append(self.here())

    def here(self) -> StepBoundary:
        """Return how much was recorded so far."""
        self._settle_sum()
        return StepBoundary(len(self._events), len(self._marks))

    def live(self) -> frozenset[int]:
        """Return the numbers of the blocks that are held."""
        return frozenset(block.number for block in self._live.values())

    def left_between(self, begin: StepBoundary, end: StepBoundary) -> set[int]:
        """Return the blocks that were taken between two points and not given back there, or the other way round."""
        left: set[int] = set()
        for block, _ in self._events[begin.num_events : end.num_events]:
            left ^= {block}
        return left

    def category(self, number: int) -> Category:
        """Return what a block is for."""
        return self._categories[number]

    def let_go(self, tensor: Tensor) -> int | None:
        """Record a tensor's block as given back, though the tensor stays; return the block's number, if it had one."""
        key = tensor.untyped_storage()._cdata
        number = self._live[key].number if key in self._live else None
        self._on_free(key)
        return number

    def take_up(self, tensor: Tensor, number: int) -> None:
        """Let a tensor that was let go stand for a block that is held."""
        storage = tensor.untyped_storage()
        self._live[storage._cdata] = _Block(number, storage.nbytes())
        self._watch(storage, storage._cdata)

    def repeat(self, begin: StepBoundary, end: StepBoundary) -> dict[int, int]:
        """Record once more what was recorded between two points, and return the new numbers of blocks taken there.

        What is still held at the second point has to be taken up by a tensor.
        """
        self._settle_sum()
        events, ahead = self._events[begin.num_events : end.num_events], len(self._events) - begin.num_events
        numbers = {block: len(self._owners) + place for place, block in enumerate(b for b, size in events if size)}
        for old, new in numbers.items():
            self._owners[new], self._categories[new] = self._owners[old], self._categories[old]
        marks = self._marks[begin.num_marks : end.num_marks]
        self._marks.extend(mark._replace(position=mark.position + ahead) for mark in marks)
        self._events.extend(Event(numbers[block], size) for block, size in events)
        # Workspaces follow the results of their op, so that the first position's belong to what was before.
        uses = [use for use in self._workspaces if begin.num_events < use.position <= end.num_events]
        self._workspaces.extend(use._replace(position=use.position + ahead) for use in uses if not use.is_kept)
        return numbers

    def forget_costs(self) -> None:
        """Begin the record of costs anew."""
        self._costs.clear()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Call everything that happens in the block by the name of this phase."""
        self._settle_sum()
        self._phase = name
        self._marks.append(Mark(len(self._events), name))
        yield
        self._settle_sum()
        self._phase = "idle"
        self._marks.append(Mark(len(self._events), "idle"))

    @contextmanager
    def naming(self, module: nn.Module) -> Iterator[None]:
        """Name what is made inside of each of `module`'s parts by the part's path."""
        names = {id(part): name or "(whole)" for name, part in module.named_modules()}

        def enter(part: nn.Module, _: Any) -> None:
            self._stack().append(names.get(id(part), type(part).__name__))

        def leave(_: nn.Module, __: Any, ___: Any) -> None:
            if self._stack():
                self._stack().pop()

        handles = (
            nn.modules.module.register_module_forward_pre_hook(enter),
            # Also where a checkpoint ends its recomputation early, by an error.
            nn.modules.module.register_module_forward_hook(leave, always_call=True),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def categorize(self, tensors: Iterable[Tensor | None], category: Category) -> None:
        """Say what the blocks behind these tensors are for."""
        for tensor in tensors:
            for part in parts_of(tensor) if tensor is not None else ():
                block = self._live.get(part.untyped_storage()._cdata)
                if block is not None:
                    self._categories[block.number] = category

    def categorize_live(self, category: Category, *, of: Category = "temporaries") -> None:
        """Say what all live blocks of another category are for: after a forward pass, what the backward pass needs."""
        for block in self._live.values():
            if self._categories[block.number] == of:
                self._categories[block.number] = category

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one op and record what it did."""
        if func is _DEVICE_OF and not args[0].fake_mode.in_kernel_invocation:
            return args[0].fake_device  # asked more often than anything is computed
        if any(issubclass(kind, Tensor) and _unpacks_itself(kind) for kind in types):
            return NotImplemented  # comes back with the tensors that it wraps
        if func.namespace in _COMPUTE_NOTHING:
            return func(*args, **(kwargs or {}))
        self._settle_sum()
        if self._phase == "optimizer" and (func is _VALUE_OF or func.name() in _FUSED_STEPS):
            return _STEP_COUNT if func is _VALUE_OF else None
        facts = facts_of(func)
        if facts.name in _SPARSE_ARGUMENT:
            _refuse_sparse(facts.name, args)
        if func.namespace not in _KNOWN:
            self.remark(f"{facts.name}: counted by its results alone; what its kernel takes beside them is not known")
        out = func(*args, **(kwargs or {}))
        if facts.is_view:
            return out
        self._record(facts, args, out)
        self._record_workspace(facts, args, out)
        if self.records_costs and not facts.moves_nothing:
            self._costs.append(facts.cost(self._phase, args, kwargs or {}, out))
        return out

    def _record(self, facts: OpFacts, args: Any, out: Any) -> None:
        if facts.name in _IN_PLACE_ON_A_GPU and self._in_backward:
            self._reuse_block(args[0], out)
        elif facts.name == "aten::add" and self._in_backward and self._is_gradient_sum(args, out):
            return
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self._record_output(tensor, facts.name)

    @property
    def _in_backward(self) -> bool:
        return self._phase == "backward"

    def _stack(self) -> list[str]:
        return self._modules.setdefault(threading.get_ident(), [])

    def _owner(self, op: str) -> str:
        stack = self._stack()
        return f"{stack[-1]}/{op.removeprefix('aten::')}" if stack else op.removeprefix("aten::")

    def _record_workspace(self, facts: OpFacts, args: Any, out: Any) -> None:
        # After the op's results, which its kernel needs beside the workspace.
        position = len(self._events)
        if facts.is_matmul and threading.get_ident() not in self._threads_with_matmul:
            # One workspace for each handle and stream; autograd's thread has a handle of its own. Never given back.
            self._threads_with_matmul.add(threading.get_ident())
            self._workspaces.append(WorkspaceUse(position, CublasHandle()))
        kernel = facts.workspace(args, out) if facts.workspace is not None else None
        if kernel is not None:
            self._workspaces.append(WorkspaceUse(position, kernel))

    def _record_output(self, tensor: Tensor, op: str) -> None:
        if not is_on_device(tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        num_bytes = 0 if key in self._live else storage.nbytes()
        if num_bytes:
            self._allocate(key, num_bytes, self._owner(op))
            self._watch(storage, key)

    def _watch(self, storage: Any, key: int) -> None:
        self._weakrefs[key] = weakref.ref(storage, lambda _: self._on_free(key))

    def _allocate(self, key: int, num_bytes: int, owner: str) -> None:
        number = len(self._owners)
        self._live[key] = _Block(number, num_bytes)
        self._owners[number] = owner
        self._categories[number] = "temporaries"
        self._events.append(Event(number, num_bytes))

    def _on_free(self, key: int) -> None:
        self._weakrefs.pop(key, None)
        block = self._live.pop(key, None)
        if block is None:
            return
        pending = self._sum
        if pending is not None and key in pending.inputs and block.num_bytes == pending.num_bytes:
            self._live[pending.storage] = block
            self._sum = None
            return
        self._events.append(Event(block.number, 0))

    def _reuse_block(self, old: Tensor, new: Tensor) -> None:
        block = self._live.pop(old.untyped_storage()._cdata, None)
        if block is not None:
            storage = new.untyped_storage()
            self._live[storage._cdata] = block
            self._watch(storage, storage._cdata)

    def _is_gradient_sum(self, args: Any, out: Any) -> bool:
        inputs = [value for value in args if isinstance(value, Tensor) and is_on_device(value)]
        storage = out.untyped_storage()
        num_bytes = storage.nbytes()
        keys = frozenset(value.untyped_storage()._cdata for value in inputs)
        if len(keys) < 2 or not num_bytes or any(self._live.get(key) is None for key in keys):
            return False
        self._sum = _GradientSum(storage._cdata, num_bytes, self._owner("add"), keys)
        self._watch(storage, storage._cdata)
        return True

    def _settle_sum(self) -> None:
        pending, self._sum = self._sum, None
        if pending is not None:
            self._allocate(pending.storage, pending.num_bytes, pending.owner)
