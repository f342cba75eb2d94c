from collections import Counter
from itertools import islice

import cv2
import numpy as np
import pytest
from tests.present import present

from eightgig.core.errors import ConfigurationError
from eightgig.core.seeding import seed_from
from eightgig.data.samples import SPECIES, flowers, render_flower, render_flowers
from eightgig.data.samples.flowers import VIEWS

NUM_IMAGES = 12 * len(SPECIES)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return dict(render_flowers(NUM_IMAGES, seed=11))


def decoded(jpeg: bytes) -> np.ndarray:
    return present(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED))


def test_equal_seeds_give_equal_bytes_and_others_give_others(files):
    again = dict(islice(render_flowers(NUM_IMAGES, seed=11), 9))
    other = dict(islice(render_flowers(NUM_IMAGES, seed=12), 9))
    assert all(files[path] == jpeg for path, jpeg in again.items())
    assert all(files[path] != jpeg for path, jpeg in other.items())


def test_a_longer_set_begins_with_the_shorter_one(files):
    assert dict(render_flowers(5, seed=11)).items() <= files.items()


def test_one_image_can_be_drawn_alone(files):
    alone = render_flower("daisy", seed=seed_from(11, "flower", "daisy", 3))
    error = np.abs(alone[..., ::-1].astype(int) - decoded(files["daisy/daisy_0003.jpg"])).mean()
    assert error < 5  # grey levels; what JPEG loses


def test_kinds_are_balanced_and_named_by_their_folder():
    counts = Counter(
        path.split("/")[0] for path, _ in render_flowers(2 * len(SPECIES) + 3, seed=1, image_side_px=(32, 40))
    )
    assert set(counts) == set(SPECIES)
    assert len(SPECIES) >= 5
    assert max(counts.values()) - min(counts.values()) <= 1


def test_files_are_rgb_jpegs_of_several_sizes(files):
    shapes = {decoded(jpeg).shape for jpeg in files.values()}
    assert all(channels == 3 and 220 <= height <= 320 and 220 <= width <= 320 for height, width, channels in shapes)
    assert len(shapes) > NUM_IMAGES * 0.8
    assert all(jpeg.startswith(b"\xff\xd8\xff") for jpeg in files.values())


def test_images_come_one_by_one():
    first_of_a_million = next(render_flowers(1_000_000, seed=0, image_side_px=(32, 40)))
    assert first_of_a_million[0] == f"{SPECIES[0]}/{SPECIES[0]}_0001.jpg"


@pytest.mark.parametrize("view", VIEWS)
def test_mean_colour_alone_does_not_tell_the_kinds_apart(view):
    files = dict(render_flowers(NUM_IMAGES, seed=11, view=view))
    colours = np.array([decoded(jpeg).mean(axis=(0, 1)) for jpeg in files.values()])
    kinds = np.array([path.split("/")[0] for path in files])
    numbers = np.array([int(path[-8:-4]) for path in files])
    train, test = numbers % 2 == 1, numbers % 2 == 0
    means = np.stack([colours[train & (kinds == kind)].mean(axis=0) for kind in SPECIES])
    nearest = np.linalg.norm(colours[test][:, None] - means, axis=-1).argmin(axis=1)
    assert (np.array(SPECIES)[nearest] == kinds[test]).mean() < 0.5


def test_images_of_one_kind_differ_in_colour():
    hues = [render_flower("tulip", seed=seed, image_side_px=(48, 60)).mean(axis=(0, 1)) for seed in range(12)]
    assert np.std(hues, axis=0).min() > 8  # grey levels


def test_flowers_of_a_garden_are_smaller_and_more_than_those_of_portraits(monkeypatch):
    def painted(view: str) -> tuple[float, int]:
        """Return the mean radius of the flowers in front, and how many are painted in all."""
        poses: list[list[float]] = []
        painter = lambda pen, pose, colour: poses[-1].append(pose.radius_px / min(pen.layer.shape[:2]))  # noqa: ARG005, E731
        monkeypatch.setattr(flowers, "_KINDS", {kind: (painter, [(1, 0, 0)]) for kind in SPECIES})
        for seed in range(40):
            poses.append([])
            render_flower("rose", seed=seed, image_side_px=(40, 48), view=view)
        return float(np.mean([radii[-1] for radii in poses])), sum(map(len, poses))

    near, few = painted("portrait")
    far, many = painted("garden")
    assert far < 0.65 * near
    assert many > 1.2 * few


def test_an_unknown_view_is_refused_with_those_that_exist():
    with pytest.raises(ConfigurationError, match="no view 'satellite'; there are portrait, garden"):
        render_flower("rose", seed=0, view="satellite")


def test_an_unknown_kind_is_refused_with_those_that_exist():
    with pytest.raises(ConfigurationError, match="no kind 'cactus'; there are daisy, iris"):
        render_flower("cactus", seed=0)


def test_no_images_is_refused():
    with pytest.raises(ConfigurationError, match="wanted 1 image or more, found num_images=0"):
        next(render_flowers(0, seed=0))


def test_sides_that_cannot_be_drawn_are_refused():
    with pytest.raises(ConfigurationError, match=r"wanted 16 <= shortest <= longest, found image_side_px=\(300, 200\)"):
        render_flower("rose", seed=0, image_side_px=(300, 200))
