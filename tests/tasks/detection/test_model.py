"""The published figures, the decoding by hand, and that the network can be exported, recomputed and pruned."""

import re
from typing import Any, Literal

import numpy as np
import onnxruntime
import pytest
import torch
from tests.present import present
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.export.onnx import export_onnx
from eightgig.models.heads import head_names
from eightgig.models.network import complexity_of
from eightgig.models.pruning import prune_channels
from eightgig.models.reshape import fit_to_state, same_outputs
from eightgig.tasks.detection.model import (
    COCO_ANCHORS,
    SIZES,
    STRIDES,
    Multiples,
    WithDecode,
    YoloV5,
    build_yolov5,
    decode_predictions,
)
from eightgig.vram.runtime.recompute import apply_checkpointing

PUBLISHED = {  # millions of parameters, GFLOPs at 640, with 80 classes
    "yolov5n": (1.9, 4.5),
    "yolov5s": (7.2, 16.5),
    "yolov5m": (21.2, 49.0),
    "yolov5l": (46.5, 109.1),
    "yolov5x": (86.7, 205.7),
}


def tiny(num_classes: int = 3) -> YoloV5:
    torch.manual_seed(0)
    return YoloV5(Multiples(depth=0.1, width=0.125), num_classes)


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_flops_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        found = complexity_of(YoloV5(SIZES[name], 80), torch.empty(1, 3, 640, 640))
    millions, gflops = PUBLISHED[name]
    assert found.num_parameters / 1e6 == pytest.approx(millions, abs=0.07)
    assert found.flops / 1e9 == pytest.approx(gflops, rel=0.01)


def test_the_small_one_has_exactly_the_published_parameters() -> None:
    """7,225,885 once BatchNorm is folded into convolutions: two numbers a channel become one bias."""
    with torch.device("meta"):
        module = YoloV5(SIZES["yolov5s"], 80)
    channels = sum(part.num_features for part in module.modules() if isinstance(part, nn.BatchNorm2d))
    total = sum(weight.numel() for weight in module.parameters())
    assert (total, total - channels) == (7_235_389, 7_225_885)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("height", "width"), [(320, 320), (320, 416), (640, 640)])
def test_three_maps_of_strides_8_16_and_32(height: int, width: int, training: bool) -> None:
    with torch.device("meta"):
        module = YoloV5(SIZES["yolov5n"], 7).train(training)
        raw = module(torch.empty(2, 3, height, width))
        predictions_NPK = module.decode(raw)
    assert [tuple(level.shape) for level in raw] == [(2, 3, height // s, width // s, 12) for s in STRIDES]
    assert predictions_NPK.shape == (2, sum(3 * (height // s) * (width // s) for s in STRIDES), 12)


def test_zeros_decode_to_the_anchors_in_the_middle_of_the_cells() -> None:
    raw = [torch.zeros(1, 3, 64 // stride, 96 // stride, 7) for stride in STRIDES]
    found = decode_predictions(raw, torch.tensor(COCO_ANCHORS))[0]
    assert found.shape == (3 * (8 * 12 + 4 * 6 + 2 * 3), 7)
    assert (found[:, 4:] == 0.5).all()
    assert found[0, :4].tolist() == [4, 4, 10, 13]
    assert found[13, :4].tolist() == [12, 12, 10, 13]  # second row, second column
    assert found[8 * 12, :4].tolist() == [4, 4, 16, 30]  # second anchor
    assert found[-1, :4].tolist() == [80, 48, 373, 326]  # last anchor, last cell of stride 32


def test_a_box_decodes_by_hand() -> None:
    raw = [torch.zeros(1, 3, 2, 2, 6, dtype=torch.float16) for _ in STRIDES]
    third = 1 / 3  # the sigmoid of -ln 2
    raw[1][0, 2, 1, 0] = torch.tensor([-np.log(2), np.log(2), -np.log(2), np.log(2), np.log(3), 0])
    found = decode_predictions(raw, torch.tensor(COCO_ANCHORS).half())
    assert found.dtype == torch.float32
    wanted = [(2 * third - 0.5) * 16, (4 * third - 0.5 + 1) * 16, (2 * third) ** 2 * 59, (4 * third) ** 2 * 119]
    torch.testing.assert_close(found[0, 12 + 10], torch.tensor([*wanted, 0.75, 0.5]), rtol=1e-3, atol=1e-2)


def test_heads_start_by_expecting_eight_objects_and_no_class_most() -> None:
    network: Any = build_yolov5("yolov5n", weights="none", num_classes=4).module
    for head, stride in zip(network.get_classifier(), STRIDES, strict=True):
        bias_AC = head.bias.view(3, 9)
        torch.testing.assert_close(bias_AC[:, 4].sigmoid(), torch.full((3,), 8 * (stride / 640) ** 2), rtol=0.3, atol=0)
        assert (bias_AC[:, 5:].sigmoid() - 1 / 6).abs().max() < 0.05


def test_the_heads_are_told_and_anchors_are_kept_with_the_weights() -> None:
    network = tiny()
    assert head_names(network) == ["heads.0", "heads.1", "heads.2"]
    assert network.state_dict()["anchors"].tolist() == [[list(pair) for pair in level] for level in COCO_ANCHORS]


def test_shapes_alone_are_enough() -> None:
    network = WithDecode(tiny()).eval()
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        assert network(fake.from_tensor(torch.zeros(2, 3, 64, 96))).shape == (2, 378, 8)


class PassOn(nn.Module):
    """A neck that does nothing."""

    def forward(self, *levels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return levels


def test_the_exported_file_gives_the_predictions_for_any_batch() -> None:
    network = tiny()  # with a short way to the heads: what is to be shown begins there, and exporting 60 layers is slow
    network.backbone = nn.Sequential(nn.Conv2d(3, 32, 8, 8), nn.Conv2d(32, 64, 2, 2), nn.Conv2d(64, 128, 2, 2))
    network.register_module("neck", PassOn())
    module = WithDecode(network).eval()
    file = export_onnx(
        module, {"images": torch.zeros(1, 3, 64, 96)}, card={}, simplified=False, output_name="predictions"
    )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    images_N3HW = torch.rand(3, 3, 64, 96)
    (found,) = session.run(["predictions"], {"images": images_N3HW.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(images_N3HW).numpy(), rtol=1e-5, atol=1e-4)


def gradients(network: nn.Module) -> list[torch.Tensor]:
    raw = network(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    sum(level.square().mean() for level in raw).backward()
    return [present(weight.grad) for weight in network.parameters()]


@pytest.mark.parametrize("level", ["selective", "full"])
def test_recomputing_changes_no_gradient_and_no_statistic(level: Literal["selective", "full"]) -> None:
    plain, recomputed = tiny(), apply_checkpointing(tiny(), level)
    for wanted, found in zip(gradients(plain), gradients(recomputed), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    for wanted, found in zip(plain.buffers(), recomputed.buffers(), strict=True):
        torch.testing.assert_close(found, wanted)


def kept_bytes(network: nn.Module) -> int:
    weights = {weight.untyped_storage()._cdata for weight in (*network.parameters(), *network.buffers())}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.rand(4, 3, 128, 128))
    return sum(storage.nbytes() for storage in kept.values())


def test_recomputing_keeps_a_fraction_of_the_activations() -> None:
    assert kept_bytes(apply_checkpointing(tiny())) < 0.25 * kept_bytes(tiny())


def test_channels_leave_and_a_fresh_network_takes_what_is_left() -> None:
    network: Any = build_yolov5("yolov5n", weights="none", num_classes=5).module
    images_N3HW = torch.rand(1, 3, 64, 64)
    report = prune_channels(network, images_N3HW, keep_flops=0.7)
    assert 0.5 < report.flops_share <= 0.7
    assert [head.out_channels for head in network.get_classifier()] == [30, 30, 30]
    assert [level.shape[-1] for level in network(images_N3HW)] == [10, 10, 10]
    fresh: Any = build_yolov5("yolov5n", weights="none", num_classes=5).module
    fit_to_state(fresh, network.state_dict())
    fresh.load_state_dict(network.state_dict())
    assert same_outputs(WithDecode(network), WithDecode(fresh), torch.rand(2, 3, 64, 96))


def test_inputs_are_plain_zero_to_one() -> None:
    network = build_yolov5("yolov5n", weights="none", num_classes=5)
    assert (network.mean, network.std, network.default_image_size) == ((0, 0, 0), (1, 1, 1), 640)
    assert (network.library, network.weights_source) == ("eightgig", "random initialisation")


def test_own_weights_come_back_from_either_file(save_weights) -> None:
    trained = build_yolov5("yolov5n", weights="none", num_classes=5).module
    trained.get_buffer("anchors").mul_(0.5)
    for file_name in ("own.safetensors", "own.pt"):
        path = save_weights(trained, file_name)
        found = build_yolov5("yolov5n", weights=str(path), num_classes=5)
        assert found.weights_source == f"file {file_name}"
        torch.testing.assert_close(found.module.state_dict(), trained.state_dict(), rtol=0, atol=0)


def test_other_classes_start_anew_on_the_trained_trunk_and_anchors_can_be_given(save_weights) -> None:
    trained = build_yolov5("yolov5n", weights="none", num_classes=5).module
    path = save_weights(trained, "own.safetensors")
    anchors = torch.arange(1.0, 19.0).reshape(3, 3, 2)
    found = build_yolov5("yolov5n", weights=str(path), num_classes=2, anchors=anchors)
    assert found.weights_source == "file own.safetensors; head `heads.0, heads.1, heads.2` starts anew"
    state, wanted = found.module.state_dict(), trained.state_dict()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted if name.startswith(("backbone", "neck")))
    assert found.module.get_buffer("anchors").tolist() == anchors.tolist()


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"`yolov6`: wanted one of {', '.join(SIZES)}")):
        build_yolov5("yolov6", weights="none", num_classes=5)
    with pytest.raises(ConfigurationError, match="wanted at least 1 class, found 0"):
        build_yolov5("yolov5n", weights="none", num_classes=0)
    with pytest.raises(WeightsError, match=r"wanted default weights, found none.*official yolov5s\.pt that you have"):
        build_yolov5("yolov5n", weights="default", num_classes=5)
    with pytest.raises(WeightsError, match="found no such file"):
        build_yolov5("yolov5n", weights="nowhere.pt", num_classes=5)


def test_weights_of_another_size_are_refused(save_weights) -> None:
    path = save_weights(build_yolov5("yolov5n", weights="none", num_classes=5).module, "own.safetensors")
    with pytest.raises(WeightsError, match=r"own\.safetensors: wanted the \d+ tensors.*Other shape: backbone"):
        build_yolov5("yolov5s", weights=str(path), num_classes=5)
