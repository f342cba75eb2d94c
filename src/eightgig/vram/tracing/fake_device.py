"""A fake accelerator: tensors with shapes and a device, without memory and without a driver.

Torch leaves one device type free for others (`PrivateUse1`); here it becomes `fakegpu`, a device that only knows that
it exists. Under `FakeTensorMode` its tensors behave like CUDA tensors of the same shape, GPU or not: autograd runs its
device thread, autocast casts what it casts on CUDA, optimizers choose their CUDA kernels.

Predictions are made in a child process (`predictor.py`), for torch can neither forget this device nor take it in late.
Once it was there, `torch.accelerator` names it for the rest of the process, and a DataLoader that asks for page-locked
memory asks it in vain. And autograd starts a thread for each device at the first backward pass of a process: a device
that comes later has none. All else that is changed for it is put back (`fake_device`).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from eightgig.core.errors import PredictionError

DEVICE = "fakegpu"
_CastRule = Literal["lower_precision", "float32", "softmax", "widest"]
# Macros of ATen/autocast_mode.h, torch's own lists of what autocast does to which op on every device.
_RULE_OF_MACRO: dict[str, _CastRule] = {
    "LOWER_PRECISION_FP": "lower_precision",
    "FP32": "float32",
    "FP32_SET_OPT_DTYPE": "float32",
    "PROMOTE": "widest",
}
# On CUDA these read float16 and write float32 in one kernel, so no float32 copy of the input is made; one of bfloat16
# is (aten/src/ATen/native/SoftMax.cpp, `half_to_float`).
_FUSED_UPCASTS = {"softmax": "_softmax", "log_softmax": "_log_softmax"}
# Torch has one kernel of these for CUDA and decomposes them for devices that it does not know.
_FUSED_BACKWARD = ("silu_backward", "mish_backward")
_cast_weights: dict[int, "_CastWeight"] = {}  # by the identity of the weight, as autocast's own cache


class _DeviceModule:
    """What torch asks of the module of a device type (`torch.cuda`, for CUDA)."""

    is_available = staticmethod(lambda: True)
    is_initialized = staticmethod(lambda: True)
    is_bf16_supported = staticmethod(lambda: True)
    current_device = staticmethod(lambda: 0)
    device_count = staticmethod(lambda: 1)
    manual_seed_all = staticmethod(lambda _seed: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.float16, torch.bfloat16])
    get_rng_state = staticmethod(lambda *_: torch.empty(0, dtype=torch.uint8))
    set_rng_state = staticmethod(lambda *_: None)
    get_device_capability = staticmethod(lambda *_: (8, 6))
    synchronize = staticmethod(lambda *_: None)
    empty_cache = staticmethod(lambda: None)
    _is_in_bad_fork = staticmethod(lambda: False)


_registered: list[torch.library.Library] = []  # kernels of the device, while it is there


@contextmanager
def fake_device() -> Iterator[None]:
    """Have the device `fakegpu`, with CUDA's autocast rules, in the block; inside of another such block, do nothing.

    Afterwards torch computes as before, optimizers and autocast too. Only the device itself stays (see above).

    Raises:
        PredictionError: this version of torch does not offer what the device is built on, or a backward pass was run in
            this process before the device was there.
    """
    if _registered:
        yield
        return
    _register_device()
    with ExitStack() as stack:
        _replace_what_is_in_the_way(stack)
        _register_autocast(stack)
        _register_fused_backward(stack)
        stack.callback(_cast_weights.clear)
        _self_test()
        yield


def is_on_device(tensor: Tensor) -> bool:
    """Return whether a tensor is on the fake accelerator; `tensor.device` would be one more op through all modes."""
    device = getattr(tensor, "fake_device", None)
    return device is not None and device.type == DEVICE


def _register_device() -> None:
    from torch.utils import backend_registration

    if torch._C._get_privateuse1_backend_name() == DEVICE:
        return
    set_up = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
    if set_up is None:
        raise PredictionError(
            f"torch {torch.__version__} cannot be given a device from Python, which the prediction without a GPU "
            "needs: install torch 2.11 to 2.14"
        )
    set_up(rename=DEVICE, backend_module=_DeviceModule())


def _replace_what_is_in_the_way(stack: ExitStack) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    clear = torch.clear_autocast_cache

    def clear_autocast_cache() -> None:
        _cast_weights.clear()
        clear()

    # A fake tensor asks its device to start up; this one has nothing to start.
    stack.enter_context(_replaced(FakeTensorMode, "avoid_device_init", property(lambda _: True)))
    stack.enter_context(_replaced(torch, "clear_autocast_cache", clear_autocast_cache))


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def kernel_library(namespace: str) -> Iterator[torch.library.Library]:
    """Have a library that kernels of the device are registered in; they are gone after the block."""
    library = torch.library.Library(namespace, "IMPL")
    _registered.append(library)
    try:
        yield library
    finally:
        _registered.remove(library)
        library._destroy()


def _register_autocast(stack: ExitStack) -> None:
    fallback = stack.enter_context(kernel_library("_"))
    fallback.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    library = stack.enter_context(kernel_library("aten"))
    for name, rule in _cast_rules():
        operator = _operator(name)
        if operator is not None:
            library.impl(name, _autocast_kernel(operator, rule), "AutocastPrivateUse1")


def _register_fused_backward(stack: ExitStack) -> None:
    library = stack.enter_context(kernel_library("aten"))
    for name in _FUSED_BACKWARD:
        library.impl(name, _below_autograd(getattr(torch.ops.aten, name).default), "AutogradPrivateUse1")


def _below_autograd(operator: Any) -> Callable[..., Any]:
    def kernel(*args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*args)

    return kernel


def _cast_rules() -> Iterator[tuple[str, _CastRule]]:
    header = (Path(torch.__file__).parent / "include/ATen/autocast_mode.h").read_text(encoding="utf-8")
    for macro, rule in _RULE_OF_MACRO.items():
        listed = re.search(rf"#define AT_FORALL_{macro}\(_\)(.*?)\n\n", header, re.DOTALL)
        if listed is None:
            raise PredictionError(f"torch {torch.__version__} no longer lists autocast's ops as {macro}")
        for name, overload in re.findall(r"_\((\w+)(?:,\s*(\w+))?\)", listed.group(1)):
            if overload != "deprecated":
                yield f"{name}.{overload}" if overload else name, rule


def _operator(name: str) -> Any | None:
    base, _, overload = name.partition(".")
    packet = getattr(torch.ops.aten, base, None)
    return None if packet is None else getattr(packet, overload or "default", None)


class _CastWeight(NamedTuple):
    weight: Tensor  # held, so that no other tensor gets its identity
    cast: Tensor


@dataclass(frozen=True)
class _Cast:
    """Casts arguments as autocast does: only floating tensors of this device, weights once while it is on."""

    target: torch.dtype

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):
            return type(value)(self(part) for part in value)
        return value

    def _tensor(self, tensor: Tensor) -> Tensor:
        eligible = tensor.is_floating_point() and tensor.dtype != torch.float64 and is_on_device(tensor)
        if not eligible or tensor.dtype == self.target:
            return tensor
        if not self._cached(tensor):
            return tensor.to(self.target)
        if id(tensor) not in _cast_weights:
            _cast_weights[id(tensor)] = _CastWeight(tensor, tensor.to(self.target))
        return _cast_weights[id(tensor)].cast

    def _cached(self, tensor: Tensor) -> bool:
        weight = tensor.dtype == torch.float32 and tensor.requires_grad and tensor.is_leaf and tensor._base is None
        return weight and self.target != torch.float32 and torch.is_autocast_cache_enabled()


def _autocast_kernel(operator: Any, rule: _CastRule) -> Callable[..., Any]:
    below = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, "AutocastPrivateUse1"))  # noqa: B009  unknown to the stubs
    upcast = getattr(torch.ops.aten, _FUSED_UPCASTS.get(operator._opname, ""), None)

    def kernel(*args: Any, **options: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(below):
            if upcast is not None and _is_float16(args[0]) and _asks_float32(args, options):
                return upcast(args[0], args[1], True)
            cast = _Cast(_target(rule, args))
            return operator(*[cast(value) for value in args], **{name: cast(v) for name, v in options.items()})

    return kernel


def _asks_float32(args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    dtype = options.get("dtype", args[2] if len(args) > 2 else None)
    return isinstance(args[1], int) and dtype in (None, torch.float32)


def _is_float16(value: Any) -> bool:
    return isinstance(value, Tensor) and is_on_device(value) and value.dtype == torch.float16


def _target(rule: _CastRule, args: tuple[Any, ...]) -> torch.dtype:
    lower: torch.dtype = torch.get_autocast_dtype(DEVICE)
    if rule == "lower_precision":
        return lower
    if rule == "widest":
        floats = [v for v in torch.utils._pytree.tree_leaves(args) if isinstance(v, Tensor) and v.is_floating_point()]
        return torch.float32 if any(v.dtype == torch.float32 for v in floats) else lower
    return torch.float32


def _self_test() -> None:
    # A self-test at start: were one of torch's internals to move, predictions would be wrong without a word.
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.autocast(DEVICE, dtype=torch.float16):
        weight = torch.ones(2, 2, device=DEVICE, requires_grad=True)
        product = weight @ weight
        loss = product.softmax(0).sum()
    try:
        loss.backward()
    except RuntimeError as error:
        if "device_ready_queues_" not in str(error):  # torch/csrc/autograd/engine.cpp, Engine::ready_queue
            raise
        raise PredictionError(
            "no step can be traced in this process any more: a backward pass was run in it before, and autograd takes "
            "in no device after that. Trace before anything is trained, or in a child process (without in_process=True)"
        ) from error
    if (product.dtype, loss.dtype) != (torch.float16, torch.float32) or weight.grad is None:
        raise PredictionError(
            f"autocast or autograd of the fake accelerator does not work with torch {torch.__version__}"
        )
