import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eightgig.core.errors import WeightsError
from eightgig.tasks.classification.efficientnet_lite import packaged_weights, timm_name
from eightgig.tasks.classification.model import build_classifier

RECORDED = json.loads((Path(__file__).parent / "efficientnet_lite0_logits.json").read_text())


def packaged_inputs() -> Tensor:
    """Eight images of 224 px made by arithmetic alone, so that they are the same everywhere."""
    i, c = np.arange(8)[:, None, None, None], np.arange(3)[None, :, None, None]
    h, w = np.arange(224)[None, None, :, None], np.arange(224)[None, None, None, :]
    pixels = (h * (3 + i) + w * (5 + 2 * c) + (h * w) // (7 + i) + 40 * c) % 256
    return torch.from_numpy(((pixels - 127) / 128).astype(np.float32))


def test_the_packaged_model_gives_the_logits_of_the_packages_own_network() -> None:
    module = build_classifier("tf_efficientnet_lite0", weights="packaged", num_classes=1000).module.eval()
    with torch.inference_mode():
        logits_NK = module(packaged_inputs())
    difference = (logits_NK[:, :20] - torch.tensor(RECORDED["logits_8x20"])).abs().max()
    assert difference < 1e-4
    assert logits_NK.argmax(dim=1).tolist() == RECORDED["argmax"]


def test_every_packaged_weight_has_one_place_and_every_place_one_weight() -> None:
    names = build_classifier("tf_efficientnet_lite0", weights="none", num_classes=1000).module.state_dict().keys()
    assert packaged_weights().keys() == names


def test_the_packaged_trunk_is_kept_under_a_new_head() -> None:
    classifier = build_classifier("tf_efficientnet_lite0", weights="packaged", num_classes=5)
    assert torch.equal(
        classifier.module.state_dict()["blocks.6.0.conv_pwl.weight"], packaged_weights()["blocks.6.0.conv_pwl.weight"]
    )
    assert classifier.weights_source.endswith("(ImageNet, 1,000 classes); head `classifier` starts anew")
    assert classifier.mean == (127 / 255,) * 3
    assert classifier.std == (128 / 255,) * 3


def test_another_model_has_no_packaged_weights() -> None:
    with pytest.raises(WeightsError, match=r"resnet18.*Packaged are those of: tf_efficientnet_lite0"):
        build_classifier("resnet18", weights="packaged", num_classes=5)


@pytest.mark.parametrize("name", ["_extra.weight", "_blocks.3._se_reduce.weight"])
def test_a_weight_without_a_place_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match=f"`{name}` has no place"):
        timm_name(name)
