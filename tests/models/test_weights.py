from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from eightgig.core.errors import WeightsError
from eightgig.tasks.classification.model import build_classifier

SaveWeights = Callable[[nn.Module, str], Path]
NAME = "timm/mobilenetv3_small_050"


@pytest.mark.parametrize("file_name", ["w.safetensors", "w.pt", "w.PTH"])
def test_a_saved_model_comes_back_whole(save_weights: SaveWeights, file_name: str) -> None:
    saved = build_classifier(NAME, weights="none", num_classes=4)
    path = save_weights(saved.module, file_name)
    loaded = build_classifier(NAME, weights=str(path), num_classes=4)
    assert loaded.weights_source == f"file {file_name}"
    images_N3HW = torch.randn(2, 3, 64, 64)
    assert torch.equal(saved.module.eval()(images_N3HW), loaded.module.eval()(images_N3HW))


def test_a_head_of_another_class_count_starts_anew_and_the_rest_is_loaded(save_weights: SaveWeights) -> None:
    saved = build_classifier("squeezenet1_1", weights="none", num_classes=4).module
    loaded = build_classifier("squeezenet1_1", weights=str(save_weights(saved, "w.pt")), num_classes=9)
    assert loaded.weights_source == "file w.pt; head `classifier.1` starts anew"
    state = loaded.module.state_dict()
    assert state["classifier.1.weight"].shape[0] == 9
    assert all(torch.equal(v, state[k]) for k, v in saved.state_dict().items() if not k.startswith("classifier.1"))


def test_weights_with_side_outputs_load_into_a_model_that_has_none(tmp_path: Path) -> None:
    saved = build_classifier("googlenet", weights="none", num_classes=3).module
    torch.save({"state_dict": {**saved.state_dict(), "aux1.fc2.weight": torch.zeros(3, 2)}}, tmp_path / "w.pt")
    assert build_classifier("googlenet", weights=str(tmp_path / "w.pt"), num_classes=3).module.transform_input


def test_weights_of_another_model_are_refused_with_what_differs(save_weights: SaveWeights) -> None:
    path = save_weights(build_classifier("resnet18", weights="none", num_classes=4).module, "w.pt")
    with pytest.raises(WeightsError, match=r"file w\.pt.*Missing: .* more\. Unexpected: .*conv1.*Name the model"):
        build_classifier(NAME, weights=str(path), num_classes=4)


def test_another_shape_outside_of_the_head_is_refused(tmp_path: Path) -> None:
    state = build_classifier(NAME, weights="none", num_classes=4).module.state_dict()
    state["conv_stem.weight"] = state["conv_stem.weight"][:, :1]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=r"Other shape: conv_stem\.weight \(16, 1, 3, 3\) instead of \(16, 3, 3, 3\)"
    ):
        build_classifier(NAME, weights=str(tmp_path / "w.pt"), num_classes=4)


def test_a_missing_file_and_another_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pt.*no such file.*default, packaged, none"):
        build_classifier(NAME, weights=str(tmp_path / "nowhere.pt"), num_classes=2)
    (tmp_path / "w.h5").write_bytes(b"x")
    with pytest.raises(
        WeightsError, match=r"wanted a file ending in \.safetensors, \.pt, \.pth, found the ending `\.h5`"
    ):
        build_classifier(NAME, weights=str(tmp_path / "w.h5"), num_classes=2)


@pytest.mark.parametrize("file_name", ["w.safetensors", "w.pt"])
def test_a_truncated_file_is_refused(save_weights: SaveWeights, file_name: str) -> None:
    path = save_weights(build_classifier(NAME, weights="none", num_classes=2).module, file_name)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="found a file that cannot be read"):
        build_classifier(NAME, weights=str(path), num_classes=2)


def test_a_pickled_object_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"save `model\.state_dict\(\)` alone"):
        build_classifier(NAME, weights=str(tmp_path / "w.pt"), num_classes=2)
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"Save `model\.state_dict\(\)` alone"):
        build_classifier(NAME, weights=str(tmp_path / "w.pt"), num_classes=2)
