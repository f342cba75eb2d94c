import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from eightgig.core.errors import ExportError
from eightgig.export.onnx import export_onnx, load_onnx
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner, read_precision
from eightgig.export.parity import check_parity
from eightgig.export.runners import softmax
from eightgig.export.torch_runner import TorchRunner


def test_the_torch_runner_gives_eval_logits_and_restores_the_module(
    tiny: nn.Sequential, images_N3HW: NDArray[np.float32]
) -> None:
    tiny.train()
    tiny[1].eval()
    with TorchRunner(tiny) as runner:
        assert not any(part.training for part in tiny.modules())
        first, second = runner.run(images_N3HW), runner.run(images_N3HW)
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
        runner.run(images_N3HW)


def test_a_provider_that_is_not_there_is_refused(tiny_onnx: bytes) -> None:
    with pytest.raises(ExportError, match=r"wanted NoSuchExecutionProvider, found only .*CPUExecutionProvider"):
        OnnxRuntimeRunner(tiny_onnx, providers=("NoSuchExecutionProvider",))


def test_a_silent_fall_back_is_refused(tiny_onnx: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)

    class Fallen:
        def __init__(self, *_: object, **__: object) -> None: ...
        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr("onnxruntime.InferenceSession", Fallen)
    with pytest.raises(ExportError, match="wanted CUDAExecutionProvider, but it fell back to CPUExecutionProvider"):
        OnnxRuntimeRunner(tiny_onnx, providers=both)


def test_precision_is_read_from_the_weights(tiny: nn.Sequential, tiny_onnx: bytes) -> None:
    half = export_onnx(tiny.half(), torch.randn(1, 3, 32, 32).half(), card={})
    assert read_precision(load_onnx(half)) == "fp16"
    assert read_precision(load_onnx(tiny_onnx)) == "fp32"
    claims = load_onnx(tiny_onnx)  # a QuantizeLinear beside float weights makes no INT8 network
    claims.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["images", "s"], ["q"]))
    assert read_precision(claims) == "fp32"


def test_parity_of_the_exported_network_passes_with_its_margin(
    tiny: nn.Sequential, tiny_onnx: bytes, images_N3HW: NDArray[np.float32]
) -> None:
    with TorchRunner(tiny) as reference, OnnxRuntimeRunner(tiny_onnx) as candidate:
        report = check_parity(reference, candidate, np.split(images_N3HW, 3), tolerance=1e-4)
    assert report.passed
    assert report.num_inputs == 24
    assert report.agreement == 1
    assert report.margin == pytest.approx(1e-4 - report.max_abs_diff_probabilities)
    assert (report.reference, report.candidate) == ("torch fp32", "onnxruntime fp32")


def test_parity_of_a_changed_network_fails(
    tiny: nn.Sequential, tiny_onnx: bytes, images_N3HW: NDArray[np.float32]
) -> None:
    with torch.no_grad():
        tiny[-1].bias[0] += 0.01
    with TorchRunner(tiny) as reference, OnnxRuntimeRunner(tiny_onnx) as candidate:
        report = check_parity(reference, candidate, [images_N3HW], tolerance=1e-4)
    assert not report.passed
    assert report.margin < 0
    assert report.max_abs_diff_logits == pytest.approx(0.01, abs=1e-5)


def test_parity_wants_inputs_and_finite_logits(
    tiny: nn.Sequential, tiny_onnx: bytes, images_N3HW: NDArray[np.float32]
) -> None:
    with TorchRunner(tiny) as reference, OnnxRuntimeRunner(tiny_onnx) as candidate:
        with pytest.raises(ExportError, match="found none"):
            check_parity(reference, candidate, [], tolerance=1e-4)
        with pytest.raises(ExportError, match="torch: wanted finite logits, found NaN or infinity"):
            check_parity(reference, candidate, [images_N3HW * np.nan], tolerance=1e-4)


def test_softmax_of_large_logits_is_finite() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0]], dtype=np.float32)), [[0.5, 0.5]])
