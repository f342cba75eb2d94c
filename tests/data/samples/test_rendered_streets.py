"""Drawn streets: all classes, exact masks, the same ones for the same seed."""

import cv2
import numpy as np
import pytest
from tests.present import present

from eightgig.core.errors import ConfigurationError
from eightgig.core.seeding import seed_from
from eightgig.data.ingest.class_table import KNOWN_TABLES
from eightgig.data.samples.streets import CLASSES, VOID, render_street, render_streets


@pytest.fixture(scope="module")
def scenes():
    return list(render_streets(40, seed=3))


def test_classes_are_cityscapes():
    assert KNOWN_TABLES["cityscapes"].classes == CLASSES


def test_images_and_masks_fit(scenes):
    assert [name for name, *_ in scenes[:2]] == ["street_0000.jpg", "street_0001.jpg"]
    for _, jpeg, mask_HW in scenes:
        image_HWC = present(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
        assert image_HWC.shape[:2] == mask_HW.shape == (192, 256)
        assert mask_HW.dtype == np.uint8
        assert ((mask_HW < len(CLASSES)) | (mask_HW == VOID)).all()


def test_every_class_is_there_often_enough_to_be_learnt(scenes):
    masks_NHW = np.stack([mask for *_, mask in scenes])
    for label, name in enumerate(CLASSES):
        assert (masks_NHW == label).mean() > 0.004, name
        assert (masks_NHW == label).any((1, 2)).mean() > 0.35, name
    assert (masks_NHW == VOID).mean() < 0.05


def test_the_seed_and_the_number_alone_decide(scenes):
    again = list(render_streets(3, seed=3))
    assert all(
        one[1] == other[1] and np.array_equal(one[2], other[2]) for one, other in zip(again, scenes, strict=False)
    )
    image_HW3, mask_HW = render_street(seed=seed_from(3, "street", 2))
    assert np.array_equal(mask_HW, scenes[2][2])
    assert image_HW3.shape == (192, 256, 3)
    assert next(iter(render_streets(1, seed=4)))[1] != scenes[0][1]


def test_edges_of_masks_are_edges_of_images(scenes):
    """Colours change more across a border of classes than within one: a mask that is shifted would not show that."""
    across, within = [], []
    for number in range(8):
        image_HW3, mask_HW = render_street(seed=number)
        step = np.abs(np.diff(image_HW3.astype(int), axis=1)).sum(2)
        border = mask_HW[:, 1:] != mask_HW[:, :-1]
        across.append(step[border].mean())
        within.append(step[~border].mean())
    assert np.mean(across) > 2.5 * np.mean(within)


def test_a_long_street_has_more_things_of_the_same_size():
    image_HW3, mask_HW = render_street(seed=1, width=1024, height=256, unit_px=1.0)
    assert image_HW3.shape == (256, 1024, 3)
    small = render_street(seed=1, width=512, height=384)[1]
    assert small.shape == (384, 512)
    person = CLASSES.index("person")
    heights = [cv2.boundingRect((mask == person).astype(np.uint8))[3] for mask in (mask_HW, small)]
    assert all(height > 0 for height in heights)


def test_no_scene_is_refused():
    with pytest.raises(ConfigurationError, match="at least one street scene, found 0"):
        next(render_streets(0, seed=0))
