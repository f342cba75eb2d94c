from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eightgig.core.errors import ExportError
from eightgig.export.card import ModelCard
from eightgig.export.onnx import export_onnx, load_onnx, read_card
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner


def test_the_file_answers_as_the_eval_network_at_any_batch(
    tiny: nn.Sequential, tiny_onnx: bytes, images_N3HW: NDArray[np.float32]
) -> None:
    with OnnxRuntimeRunner(tiny_onnx) as runner, torch.inference_mode():
        for size in (1, 2, 7):
            expected = tiny.eval()(torch.from_numpy(images_N3HW[:size])).numpy()
            np.testing.assert_allclose(runner.run({"images": images_N3HW[:size]})["logits"], expected, atol=1e-5)


def test_the_file_is_checked_named_and_tells_no_path(tiny_onnx: bytes) -> None:
    model = load_onnx(tiny_onnx)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 18
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["images", "logits"]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert str(Path(__file__).parents[2]).encode() not in tiny_onnx


def test_export_leaves_the_module_as_it_was(tiny: nn.Sequential, capfd: pytest.CaptureFixture[str]) -> None:
    tiny.train()
    tiny[1].eval()  # a frozen BatchNorm stays frozen
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    export_onnx(tiny, {"images": torch.randn(1, 3, 32, 32)}, card={})
    assert [part.training for part in tiny] == [index != 1 for index in range(len(tiny))]
    assert all(torch.equal(tensor, tiny.state_dict()[name]) for name, tensor in before.items())
    assert capfd.readouterr().out == ""


def test_the_card_is_in_the_file(tiny_onnx: bytes) -> None:
    card = read_card(tiny_onnx)
    assert set(card) == {"model", "classes", "torch_version", "precision", "opset", "precision_by_layer"}
    assert (card["model"], card["classes"]) == ("tiny", '["a", "b", "c", "ü"]')
    assert (card["torch_version"], card["precision"], card["opset"]) == (torch.__version__, "fp32", "20")


def test_a_classifiers_card_comes_back_from_metadata() -> None:
    card = ModelCard(
        model="m", classes=("rose", "größe"), mean=(0.1, 0.2, 0.3), std=(1, 1, 1), image_size=160, weights_sha256="12"
    )
    metadata = card.to_metadata()
    assert metadata["classes"] == '["rose", "größe"]'
    assert ModelCard.from_metadata({**metadata, "torch_version": "2.14"}) == card
    with pytest.raises(ExportError, match=r"found no metadata\. Export the model with eightgig"):
        ModelCard.from_metadata({})


def test_a_file_with_weights_elsewhere_is_refused(tiny_onnx: bytes) -> None:
    model = load_onnx(tiny_onnx)
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(ExportError, match="self-contained ONNX file, found 1 tensors with their data in another file"):
        read_card(model.SerializeToString())


@pytest.mark.parametrize("content", [b"", b"not onnx at all"])
def test_what_is_not_onnx_is_refused(content: bytes) -> None:
    with pytest.raises(ExportError, match="wanted an ONNX file, found"):
        read_card(content)


def test_a_network_that_cannot_be_exported_is_named() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ExportError, match=r"Branching: torch cannot export it to ONNX \(.*Python branches"):
        export_onnx(Branching(), {"images": torch.randn(1, 3, 8, 8)}, card={})
