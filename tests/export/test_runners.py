import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from torch import nn

from eightgig.bench.classification import ClassificationEvaluator
from eightgig.core.errors import ExportError
from eightgig.export.evaluator import Comparer, Comparison
from eightgig.export.half import to_half
from eightgig.export.onnx import export_onnx
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.export.parity import check_parity
from eightgig.export.runners import softmax
from eightgig.export.torch_compile_runner import TorchCompileRunner
from eightgig.export.torch_runner import TorchRunner

TASK = ClassificationEvaluator(["a", "b", "c", "d"])


def test_the_torch_runner_gives_eval_logits_and_restores_the_module(
    tiny: nn.Sequential, images_N3HW: NDArray[np.float32]
) -> None:
    tiny.train()
    tiny[1].eval()
    with TorchRunner(tiny) as runner:
        assert not any(part.training for part in tiny.modules())
        first, second = (runner.run({"images": images_N3HW})["logits"] for _ in range(2))
    assert np.array_equal(first, second)  # dropout is off
    assert (first.dtype, first.shape) == (np.float32, (24, 4))
    assert [part.training for part in tiny] == [index != 1 for index in range(len(tiny))]
    assert (runner.precision, runner.device) == ("fp32", "cpu")
    assert runner.describe()["version"] == torch.__version__


def test_the_onnx_runner_tells_what_it_runs(tiny_onnx: bytes, images_N3HW: NDArray[np.float32]) -> None:
    with OnnxRuntimeRunner(tiny_onnx, num_threads=1) as runner:
        assert (runner.precision, runner.device) == ("fp32", "cpu")
        assert runner.describe().items() >= {"providers": ["CPUExecutionProvider"], "num_threads": 1}.items()
    with pytest.raises(ExportError, match="runner `onnxruntime` is closed"):
        runner.run({"images": images_N3HW})


def test_a_provider_that_is_not_there_is_refused(tiny_onnx: bytes) -> None:
    with pytest.raises(ExportError, match=r"wanted NoSuchExecutionProvider, found only .*CPUExecutionProvider"):
        OnnxRuntimeRunner(tiny_onnx, provider="NoSuchExecutionProvider")


def test_a_silent_fall_back_is_refused(tiny_onnx: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)

    class Fallen:
        def __init__(self, *_: object, **__: object) -> None: ...
        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr("onnxruntime.InferenceSession", Fallen)
    with pytest.raises(ExportError, match="wanted CUDAExecutionProvider, but it fell back to CPUExecutionProvider"):
        OnnxRuntimeRunner(tiny_onnx, provider="CUDAExecutionProvider")


@pytest.mark.parametrize(("limit", "options"), [(None, {}), (2**30, {"gpu_mem_limit": 2**30})])
def test_on_a_gpu_the_arena_stays_within_the_limit(
    tiny_onnx: bytes, monkeypatch: pytest.MonkeyPatch, limit: int | None, options: dict[str, int]
) -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    given: list[object] = []

    class Session:
        def __init__(self, *_: object, providers: list[object], **__: object) -> None:
            given.extend(providers)

        def get_providers(self) -> list[str]:
            return both

    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    OnnxRuntimeRunner(tiny_onnx, provider="CUDAExecutionProvider", memory_limit_bytes=limit)
    assert given == [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def test_parity_holds_the_answers_of_one_batch(tiny: nn.Sequential) -> None:
    held: list[int] = []

    class Watched(ClassificationEvaluator):
        def comparer(self) -> Comparer:
            kept = super().comparer()

            class Watching:
                def add(self, reference: Sequence[object], found: Sequence[object]) -> None:
                    held.append(len(reference))
                    kept.add(reference, found)

                def comparison(self) -> Comparison:
                    return kept.comparison()

            return Watching()

    batches = [{"images": np.full((size, 3, 32, 32), size, np.float32)} for size in (2, 3, 1)]
    with TorchRunner(tiny) as reference, TorchRunner(tiny) as candidate:
        report = check_parity(reference, candidate, iter(batches), tolerance=1e-4, evaluator=Watched("abcd"))
    assert (held, report.num_inputs) == ([2, 3, 1], 6)


def test_inputs_are_asked_for_by_name(tiny: nn.Sequential, tiny_onnx: bytes, images_N3HW: NDArray[np.float32]) -> None:
    with TorchRunner(tiny) as torch_runner, OnnxRuntimeRunner(tiny_onnx) as onnx_runner:
        for runner in (torch_runner, onnx_runner):
            with pytest.raises(ExportError, match=r"wants the inputs images; found photos\. Give it images too"):
                runner.run({"photos": images_N3HW})
    with pytest.raises(ExportError, match="runner `torch` is closed"):
        torch_runner.run({"images": images_N3HW})


def test_fp16_on_the_cpu_says_that_it_computes_in_fp32(tiny: nn.Sequential, images_N3HW: NDArray[np.float32]) -> None:
    half = to_half(export_onnx(tiny, {"images": torch.randn(1, 3, 32, 32)}, card={}))
    with OnnxRuntimeRunner(half, claimed="fp16") as runner, TorchRunner(tiny) as reference:
        assert (runner.precision, runner.computes_in) == ("fp16", "fp32")
        assert runner.describe()["layers_by_precision"] == {"fp32": 4}
        report = check_parity(reference, runner, [{"images": images_N3HW}], tolerance=1e-2, evaluator=TASK)
    assert report.passed
    assert report.max_abs_diff_probabilities > 1e-7  # rounded to 11 bits, it cannot be the same


def test_int8_really_runs_in_int8(tiny_onnx: bytes, images_N3HW: NDArray[np.float32]) -> None:
    with OnnxRuntimeRunner(tiny_int8(tiny_onnx, images_N3HW), claimed="int8") as runner:
        assert (runner.precision, runner.computes_in) == ("int8", "int8")
        assert runner.describe()["layers_by_precision"]["int8"] >= 3


def tiny_int8(tiny_onnx: bytes, images_N3HW: NDArray[np.float32]) -> bytes:
    class Reader(CalibrationDataReader):
        rest = iter([{"images": images_N3HW}])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.rest, None)

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(tiny_onnx)
        quantize_static(source, target, Reader(), per_channel=True)
        return target.read_bytes()


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # Inductor's own
def test_torch_compile_answers_as_torch() -> None:
    torch.manual_seed(0)
    linear, feeds = nn.Linear(4, 3), {"images": np.eye(4, dtype=np.float32)}
    with TorchRunner(linear) as reference, TorchCompileRunner(linear, feeds) as compiled:
        assert compiled.describe()["runtime"] == "torch.compile"
        tolerance = 1e-4 if compiled.computes_in == "fp32" else 2e-2
        assert check_parity(reference, compiled, [feeds], tolerance=tolerance, evaluator=TASK).passed


def test_what_cannot_be_compiled_is_said_and_leaves_the_module_as_it_was(
    tiny: nn.Sequential, images_N3HW: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    tiny.train()
    with (
        pytest.raises(ExportError, match=r"cannot compile Sequential here \(no working C\+\+ compiler\)"),
        TorchCompileRunner(tiny, {"images": images_N3HW[:2]}),
    ):
        pass
    assert tiny.training


def test_parity_of_the_exported_network_passes_with_its_margin(
    tiny: nn.Sequential, tiny_onnx: bytes, images_N3HW: NDArray[np.float32]
) -> None:
    with TorchRunner(tiny) as reference, OnnxRuntimeRunner(tiny_onnx) as candidate:
        report = check_parity(
            reference,
            candidate,
            [{"images": part} for part in np.split(images_N3HW, 3)],
            tolerance=1e-4,
            evaluator=TASK,
        )
    assert report.passed
    assert report.num_inputs == 24
    assert report.agreement == 1
    assert report.margin == pytest.approx(1e-4 - report.max_abs_diff_probabilities)
    assert (report.reference, report.candidate) == ("torch fp32", "onnxruntime fp32")


def test_parity_of_a_changed_network_fails(
    tiny: nn.Sequential, tiny_onnx: bytes, images_N3HW: NDArray[np.float32]
) -> None:
    with torch.no_grad():
        tiny.get_parameter(f"{len(tiny) - 1}.bias")[0] += 0.01
    with TorchRunner(tiny) as reference, OnnxRuntimeRunner(tiny_onnx) as candidate:
        report = check_parity(reference, candidate, [{"images": images_N3HW}], tolerance=1e-4, evaluator=TASK)
    assert not report.passed
    assert report.margin < 0
    assert report.max_abs_diff_outputs == pytest.approx(0.01, abs=1e-5)


def test_parity_wants_inputs_and_finite_logits(
    tiny: nn.Sequential, tiny_onnx: bytes, images_N3HW: NDArray[np.float32]
) -> None:
    with TorchRunner(tiny) as reference, OnnxRuntimeRunner(tiny_onnx) as candidate:
        with pytest.raises(ExportError, match="found none"):
            check_parity(reference, candidate, [], tolerance=1e-4, evaluator=TASK)
        with pytest.raises(ExportError, match="torch: wanted finite logits, found NaN or infinity"):
            check_parity(reference, candidate, [{"images": images_N3HW * np.nan}], tolerance=1e-4, evaluator=TASK)


def test_softmax_of_large_logits_is_finite() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0]], dtype=np.float32)), [[0.5, 0.5]])
