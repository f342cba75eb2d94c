"""The runner's checks, memory and order of steps; what the card itself computes is tested where there is one."""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from eightgig.core.errors import ExportError
from eightgig.core.files import sha256_of
from eightgig.export.tensorrt import runner as runner_module
from eightgig.export.tensorrt.buffers import Buffers, torch_dtype
from eightgig.export.tensorrt.machine import EngineMachine
from eightgig.export.tensorrt.manifest import sealed
from eightgig.export.tensorrt.records import (
    BatchProfile,
    Engine,
    EngineManifest,
    EngineRequest,
    EngineTensor,
    Shape,
    ShapeProfile,
)
from eightgig.export.tensorrt.runner import TensorRTRunner
from eightgig.export.tensorrt.session import Session
from eightgig.export.tensorrt.toolkit import Toolkit, find_toolkit

PLAN = b"a serialized engine"
IMAGES = EngineTensor(
    name="images",
    dtype="float32",
    shape=(-1, 2),
    profile=ShapeProfile(smallest=(1, 2), usual=(1, 2), largest=(4, 2)),
)
LOGITS = EngineTensor(name="logits", dtype="float16", shape=(-1, 2))
NO_GPU = EngineMachine(compute_capability=None, gpu=None, driver=None, platform="Linux x86_64")
RTX_3070 = EngineMachine(compute_capability=(8, 6), gpu="RTX 3070", driver="580.1", platform="Linux x86_64")
RTX_4070 = EngineMachine(compute_capability=(8, 9), gpu="RTX 4070", driver="580.1", platform="Linux x86_64")


@pytest.fixture
def engine() -> Engine:
    manifest = EngineManifest(
        toolkit="tensorrt_rtx",
        toolkit_version="1.7.1.116",
        precision="fp16",
        exempt_nodes=(),
        unproven_nodes=(),
        changed_nodes={},
        layers=(),
        compute_capability=(8, 6),
        gpu=None,
        driver=None,
        platform="Linux x86_64",
        onnx_sha256=sha256_of(b"an ONNX file"),
        plan_sha256=sha256_of(PLAN),
        inputs=(IMAGES,),
        outputs=(LOGITS,),
        request=EngineRequest(batch=BatchProfile(largest=4)),
        build_seconds=1.0,
        eightgig_version="0.1.0",
    )
    return Engine(PLAN, sealed(manifest))


@pytest.fixture
def toolkit() -> Toolkit:
    module = ModuleType("tensorrt_rtx")
    module.__version__ = "1.7.1.116"  # type: ignore[attr-defined]
    return Toolkit("tensorrt_rtx", module)


def bytes_at(address: int, count: int) -> Any:
    """Return what lies there, to be read and written."""
    return (ctypes.c_char * count).from_address(address)


class Doubler:
    """A session on the CPU whose engine doubles its input, from and to the addresses that it was given."""

    steps: list[str]

    def __init__(self, toolkit: Toolkit, plan: bytes, runtime_cache: Path | None) -> None:
        Doubler.steps = ["open"]

    def output_shapes(self, inputs: Mapping[str, Shape], outputs: Sequence[EngineTensor]) -> dict[str, Shape]:
        self.shape = inputs["images"]
        return {"logits": self.shape}

    def bind(self, addresses: Mapping[str, int]) -> None:
        Doubler.steps.append("bind")
        self.addresses = addresses

    def execute(self) -> None:
        Doubler.steps.append("execute")
        count = self.shape[0] * self.shape[1]
        read = np.frombuffer(bytes_at(self.addresses["images"], 4 * count), np.float32)
        written = np.frombuffer(bytes_at(self.addresses["logits"], 2 * count), np.float16)
        written[:] = 2 * read

    def close(self) -> None:
        Doubler.steps.append("close")


@pytest.fixture
def opened(engine: Engine, toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch) -> TensorRTRunner:
    """A runner that takes this machine's CPU for an RTX 3070."""
    monkeypatch.setattr(runner_module, "this_machine", lambda: RTX_3070)
    monkeypatch.setattr(runner_module, "find_toolkit", lambda _: toolkit)
    monkeypatch.setattr(runner_module, "Session", Doubler)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "RTX 3070")
    runner = TensorRTRunner(engine, b"an ONNX file")
    assert runner.device == "cuda:0"
    runner.device = "cpu"
    return runner


def test_without_a_gpu_tensorrt_is_not_touched(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "this_machine", lambda: NO_GPU)
    monkeypatch.setattr(runner_module, "find_toolkit", lambda _: pytest.fail("TensorRT crashes without a driver"))
    with pytest.raises(ExportError, match=r"built for sm_86 \(.*RTX 3070.*\); running it waits for a GPU"):
        TensorRTRunner(engine)


def test_another_card_or_file_is_refused(engine: Engine, toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "find_toolkit", lambda _: toolkit)
    monkeypatch.setattr(runner_module, "this_machine", lambda: RTX_4070)
    with pytest.raises(ExportError, match=r"built for sm_86 .*, found RTX 4070 with sm_89 .* Build the engine again"):
        TensorRTRunner(engine)
    monkeypatch.setattr(runner_module, "this_machine", lambda: RTX_3070)
    with pytest.raises(ExportError, match="onnx_sha256 wanted"):
        TensorRTRunner(engine, b"another file")
    with pytest.raises(ExportError, match="the engine is damaged or was replaced"):
        TensorRTRunner(Engine(PLAN[:-1], engine.manifest))


def test_named_arrays_go_through_memory_that_is_taken_once(opened: TensorRTRunner) -> None:
    with opened as runner:
        told = runner.describe()
        for size in (4, 1, 3):
            images = np.arange(2 * size, dtype=np.float32).reshape(size, 2)
            (logits,) = runner.run({"images": images, "unread": images}).values()
            np.testing.assert_array_equal(logits, 2 * images)
            assert logits.dtype == np.float32  # though the engine writes float16
    assert Doubler.steps == ["open", "bind", "execute", "execute", "execute", "close"]
    assert told["buffer_bytes"] == 256 + 256  # 4 x 2 float32 and float16, each rounded up to a block
    assert told.items() >= {"runtime": "TensorRT for RTX", "version": "1.7.1.116", "precision": "fp16"}.items()
    with pytest.raises(ExportError, match="runner `tensorrt_rtx` is closed"):
        runner.run({"images": images})


def test_what_the_engine_was_not_built_for_is_refused(opened: TensorRTRunner) -> None:
    with opened as runner:
        with pytest.raises(
            ExportError, match=r"input images wants 1x2 to 4x2, found 5x2\. Give smaller batches, or build the engine"
        ):
            runner.run({"images": np.zeros((5, 2), np.float32)})
        with pytest.raises(ExportError, match="wants 1x2 to 4x2, found 4x3"):
            runner.run({"images": np.zeros((4, 3), np.float32)})
        with pytest.raises(ExportError, match="wants the inputs images; found photos"):
            runner.run({"photos": np.zeros((1, 2), np.float32)})
    assert Doubler.steps == ["open", "bind", "close"]


def test_everything_is_given_back_after_an_error(opened: TensorRTRunner) -> None:
    with pytest.raises(ZeroDivisionError), opened:
        1 / 0  # noqa: B018
    assert Doubler.steps[-1] == "close"


def test_buffers_keep_their_addresses_and_refuse_what_they_cannot_hold() -> None:
    buffers = Buffers([IMAGES, LOGITS], {"images": (100, 2), "logits": (4, 2)}, "cpu")
    assert buffers.size_bytes == 100 * 2 * 4 + 256
    view = buffers.view("images", (3, 2))
    assert (view.shape, view.dtype, view.data_ptr()) == ((3, 2), torch.float32, buffers.address("images"))
    with pytest.raises(ExportError, match=r"output boxes has a shape \(-1, 4\) that depends on values"):
        Buffers([EngineTensor(name="boxes", dtype="float32", shape=(-1, 4))], {"boxes": (-1, 4)}, "cpu")
    with pytest.raises(ExportError, match="tensor q is fp4, which torch does not hold"):
        torch_dtype(EngineTensor(name="q", dtype="fp4", shape=(1,)))


class FakeTensorRT(ModuleType):
    """As much of TensorRT for RTX as a session calls."""

    __version__ = "1.7.1"

    class ILogger:
        def __init__(self) -> None: ...

    def __init__(self) -> None:
        super().__init__("tensorrt_rtx")
        self.cache = SimpleNamespace(deserialize=self.read, serialize=lambda: b"compiled kernels")
        self.read_back: list[bytes] = []
        self.contexts: list[tuple[Any, ...]] = []

    def read(self, content: bytes) -> bool:
        self.read_back.append(content)
        return True

    def Runtime(self, logger: Any) -> Any:  # noqa: N802 - TensorRT's name
        config = SimpleNamespace(create_runtime_cache=lambda: self.cache, set_runtime_cache=lambda _: True)
        engine = SimpleNamespace(create_runtime_config=lambda: config, create_execution_context=self.create)
        return SimpleNamespace(deserialize_cuda_engine=lambda _: engine)

    def create(self, *arguments: Any) -> Any:
        self.contexts.append(arguments)
        return SimpleNamespace(set_input_shape=lambda *_: False, set_tensor_address=lambda *_: False)


def test_compiled_kernels_are_kept_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.Stream", lambda: SimpleNamespace(synchronize=lambda: None))
    module = FakeTensorRT()
    cache = tmp_path / "b3.kernels"
    Session(Toolkit("tensorrt_rtx", module), PLAN, cache).close()
    assert (module.read_back, cache.read_bytes()) == ([], b"compiled kernels")
    Session(Toolkit("tensorrt_rtx", module), PLAN, cache).close()
    assert module.read_back == [b"compiled kernels"]
    Session(Toolkit("tensorrt", module), PLAN, cache).close()  # which compiles nothing
    assert [len(arguments) for arguments in module.contexts] == [1, 1, 0]


def test_a_shape_or_an_address_that_tensorrt_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.Stream", lambda: SimpleNamespace(synchronize=lambda: None))
    session = Session(Toolkit("tensorrt_rtx", FakeTensorRT()), PLAN)
    with pytest.raises(ExportError, match=r"refuses the shape \(9, 2\) for input images"):
        session.output_shapes({"images": (9, 2)}, [LOGITS])
    with pytest.raises(ExportError, match="refuses the memory for tensor images"):
        session.bind({"images": 0})


def test_bytes_that_are_no_engine_are_refused() -> None:
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(ExportError, match=r"TensorRT for RTX [\d.]+ refuses the engine: .* Build it again"):
        Session(find_toolkit("tensorrt_rtx"), b"no engine")


@pytest.mark.gpu
def test_an_engine_computes_what_torch_does(
    tiny: nn.Sequential, tiny_onnx: bytes, images_N3HW: NDArray[np.float32], tmp_path: Path
) -> None:
    from eightgig.export.tensorrt.builder import build_engine
    from eightgig.export.torch_runner import TorchRunner

    try:
        built = build_engine(tiny_onnx, EngineRequest(compute_capability="current"))
    except ExportError as error:
        pytest.skip(str(error))  # no toolkit, or none for this card
    cache = tmp_path / "kernels"
    with TensorRTRunner(built, tiny_onnx, runtime_cache=cache) as runner, TorchRunner(tiny, "cuda") as reference:
        for batch in (images_N3HW[:8], images_N3HW[8:11]):
            (found,) = runner.run({"images": batch}).values()
            (wanted,) = reference.run({"images": batch}).values()
            np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert cache.is_file() is (built.manifest.toolkit == "tensorrt_rtx")
    assert (built.manifest.gpu, built.manifest.unproven_nodes) == (torch.cuda.get_device_name(), ())
