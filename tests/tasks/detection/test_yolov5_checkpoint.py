"""Official checkpoints: every weight finds its place, and nothing in the file is run.

The official classes are imitated here under their own module names, with the numbered layers of the published summary
and a forward pass of their own, so that a wrong place of a weight shows in the maps.
"""

import builtins
import os
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.present import present
from torch import nn

from eightgig.core.errors import WeightsError
from eightgig.tasks.detection.model import COCO_ANCHORS, Multiples, YoloV5, build_yolov5
from eightgig.tasks.detection.yolov5_checkpoint import is_pickled_network, read_yolov5_checkpoint

CLASSES = ["duck", "frog"]


class Conv(nn.Module):
    def __init__(self, c1, c2, k=1, s=1, p=None):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2 if p is None else p, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c, add):
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c, 1), Conv(c, c, 3), add

    def forward(self, x):
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C3(nn.Module):
    def __init__(self, c1, c2, n=1, add=True):
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(c1, c2 // 2), Conv(c1, c2 // 2), Conv(c2, c2)
        self.m = nn.Sequential(*[Bottleneck(c2 // 2, add) for _ in range(n)])

    def forward(self, x):
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.cv1, self.cv2, self.m = Conv(c, c // 2), Conv(2 * c, c), nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        pyramid = [self.cv1(x)]
        for _ in range(3):
            pyramid.append(self.m(pyramid[-1]))
        return self.cv2(torch.cat(pyramid, 1))


class Concat(nn.Module):
    def __init__(self, other):
        super().__init__()
        self.f = [-1, other]


class Detect(nn.Module):
    def __init__(self, channels, num_classes):
        super().__init__()
        self.f, self.no, self.stride = [17, 20, 23], 5 + num_classes, torch.tensor([8.0, 16, 32])
        self.register_buffer("anchors", torch.tensor(COCO_ANCHORS) / self.stride.view(3, 1, 1))
        self.m = nn.ModuleList(nn.Conv2d(c, 3 * self.no, 1) for c in channels)


class DetectionModel(nn.Module):
    def __init__(self, channels, repeats, names):
        super().__init__()
        a, b, c, d, e = channels
        k, m, n, o = repeats
        up = nn.Upsample(None, 2, "nearest")
        self.model = nn.Sequential(
            *(Conv(3, a, 6, 2, 2), Conv(a, b, 3, 2), C3(b, b, k), Conv(b, c, 3, 2), C3(c, c, m), Conv(c, d, 3, 2)),
            *(C3(d, d, n), Conv(d, e, 3, 2), C3(e, e, o), SPPF(e)),
            *(Conv(e, d), up, Concat(6), C3(2 * d, d, k, False), Conv(d, c), up, Concat(4), C3(2 * c, c, k, False)),
            *(Conv(c, c, 3, 2), Concat(14), C3(2 * c, d, k, False)),
            *(Conv(d, d, 3, 2), Concat(10), C3(2 * d, e, k, False)),
            Detect((c, d, e), len(names)),
        )
        self.names, self.yaml, self.stride = names, {"nc": len(names)}, torch.tensor([8.0, 16, 32])

    def forward(self, x):
        seen = []
        for layer in self.model[:-1]:
            x = torch.cat((x, seen[layer.f[1]]), 1) if isinstance(layer, Concat) else layer(x)
            seen.append(x)
        head: Any = self.model[-1]
        maps = [convolution(seen[f]) for convolution, f in zip(head.m, head.f, strict=True)]
        return [y.view(len(y), 3, head.no, *y.shape[2:]).permute(0, 1, 3, 4, 2) for y in maps]


OFFICIAL = {
    "models": (),
    "models.common": (Conv, Bottleneck, C3, SPPF, Concat),
    "models.yolo": (Detect, DetectionModel),
}


class Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., object], *inputs: object) -> None:
        self.call = function, inputs

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@contextmanager
def official_modules() -> Iterator[None]:
    """Let the imitated classes be those of `models.common` and `models.yolo` while a file is written."""
    with pytest.MonkeyPatch.context() as patch:
        for name, classes in OFFICIAL.items():
            patch.setitem(sys.modules, name, types.ModuleType(name))
            for kind in classes:
                kind.__module__ = name
                setattr(sys.modules[name], kind.__name__, kind)
        yield


def trained(channels=(8, 16, 32, 64, 128), repeats=(1, 1, 1, 1), names=CLASSES, seed=0) -> Any:
    torch.manual_seed(seed)
    model = DetectionModel(channels, repeats, names)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(present(part.running_mean), -0.2, 0.2)
            nn.init.uniform_(present(part.running_var), 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return model.half().float().eval()  # values that half precision holds


def save(path: Path, model: object, **other: object) -> Path:
    with official_modules():
        torch.save({"epoch": -1, "model": model, "ema": None, "optimizer": None, **other}, path)
    return path


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("official") / "small.pt", trained((4,) * 5).half())


def loaded(path: Path) -> YoloV5:
    network = YoloV5(Multiples(0.1, 0.125), len(CLASSES)).eval()
    network.load_state_dict(read_yolov5_checkpoint(path).state)
    return network


@pytest.mark.parametrize("half", [False, True])
def test_an_imported_network_gives_the_maps_of_the_official_one(tmp_path: Path, half: bool) -> None:
    images_N3HW = torch.rand(2, 3, 64, 96)
    model = trained()
    with torch.no_grad():
        wanted = model(images_N3HW)
        found = loaded(save(tmp_path / "official.pt", model.half() if half else model))(images_N3HW)
    for level, official in zip(found, wanted, strict=True):
        torch.testing.assert_close(level, official)


def test_the_smallest_published_one_is_built_from_its_file(tmp_path: Path) -> None:
    path = save(tmp_path / "yolov5n.pt", trained((16, 32, 64, 128, 256), (1, 2, 3, 1)).half())
    network = build_yolov5("yolov5n", weights=str(path), num_classes=2)
    assert network.weights_source == "official checkpoint yolov5n.pt"
    assert network.module.get_buffer("anchors").tolist() == [[list(pair) for pair in level] for level in COCO_ANCHORS]
    fewer = build_yolov5("yolov5n", weights=str(path), num_classes=1)
    assert fewer.weights_source.endswith("; head `heads.0, heads.1, heads.2` starts anew")
    with pytest.raises(WeightsError, match=r"checkpoint yolov5n\.pt: wanted the \d+ tensors.*Missing: backbone"):
        build_yolov5("yolov5m", weights=str(path), num_classes=2)


@pytest.mark.parametrize("names", [CLASSES, dict(enumerate(CLASSES))])
def test_class_names_and_types_come_along(tmp_path: Path, names: object) -> None:
    found = read_yolov5_checkpoint(save(tmp_path / "named.pt", trained((4,) * 5, names=names).half()))
    assert found.classes == tuple(CLASSES)
    assert {str(tensor.dtype) for tensor in found.state.values()} == {"torch.float32", "torch.int64"}


def test_the_average_of_a_training_that_goes_on_is_preferred(tmp_path: Path) -> None:
    average = trained((4,) * 5, seed=2)
    found = read_yolov5_checkpoint(save(tmp_path / "last.pt", trained((4,) * 5), ema=average)).state
    assert torch.equal(found["backbone.0.0.conv.weight"], average.model[0].conv.weight)


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    model = trained((4,) * 5)
    model.hook = Runs(os.system, f"touch {canary}")
    model.model[2]._modules["spy"] = Runs(builtins.exec, f"open({str(canary)!r}, 'w').close()")
    more = {
        "opt": Runs(eval, f"open({str(canary)!r}, 'w').close()"),
        "date": Runs(getattr, "x", "upper"),
        "git": tmp_path,
    }
    path = save(tmp_path / "hostile.pt", model, **more)
    assert b"posix" in path.read_bytes()
    assert is_pickled_network(path)
    assert len(read_yolov5_checkpoint(path).state) == len(trained((4,) * 5).state_dict())
    assert not canary.exists()
    with official_modules():
        torch.load(path, weights_only=False)
    assert canary.exists()  # so it would have been run


def test_files_that_are_no_such_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="found no such file"):
        read_yolov5_checkpoint(tmp_path / "nowhere.pt")
    (tmp_path / "text.pt").write_text("no archive")
    with pytest.raises(WeightsError, match=r"no zip archive: it is damaged, or of torch before 1\.6"):
        read_yolov5_checkpoint(tmp_path / "text.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="no zip archive"):
        read_yolov5_checkpoint(tmp_path / "legacy.pt")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "state.pt")
    assert not is_pickled_network(tmp_path / "state.pt")
    with pytest.raises(WeightsError, match="wanted a network under ema or model"):
        read_yolov5_checkpoint(tmp_path / "state.pt")


def test_a_tensor_without_a_place_is_named(tmp_path: Path) -> None:
    model = trained((4,) * 5)
    model.model[2].cv4 = Conv(4, 4)
    model.model[9].cv3 = Conv(4, 4)
    model.model[24].register_buffer("anchor_grid", torch.zeros(3))
    with pytest.raises(WeightsError, match=r"found 13 tensors without a place there: model.*Not read are networks for"):
        read_yolov5_checkpoint(save(tmp_path / "other.pt", model))


def test_a_tensor_that_is_missing_is_named(tmp_path: Path) -> None:
    model = trained((16, 32, 64, 128, 256), (1, 2, 3, 1))
    del model.model[9].cv2
    path = save(tmp_path / "short.pt", model)
    with pytest.raises(WeightsError, match=r"Missing: backbone\.4\.2\.join\.conv\.weight"):
        build_yolov5("yolov5n", weights=str(path), num_classes=2)


def test_anchors_of_other_levels_are_refused(tmp_path: Path) -> None:
    model = trained((4,) * 5)
    model.model[24].anchors = torch.zeros(4, 3, 2)
    with pytest.raises(WeightsError, match=r"wanted anchors of 3 levels, found them in the shape \(4, 3, 2\)"):
        read_yolov5_checkpoint(save(tmp_path / "p6.pt", model))


def test_a_network_that_holds_itself_is_refused(tmp_path: Path) -> None:
    model = trained((4,) * 5)
    model.model[2]._modules["again"] = model
    with pytest.raises(WeightsError, match="modules without an end"):
        read_yolov5_checkpoint(save(tmp_path / "endless.pt", model))


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path: Path) -> None:
    model = trained((4,) * 5)
    model.model[0].bn.running_mean = torch.zeros(1).expand(2**40)
    with pytest.raises(WeightsError, match="a tensor is larger than what is stored of it"):
        read_yolov5_checkpoint(save(tmp_path / "bomb.pt", model))


def with_pickle(path: Path, pickled: bytes, target: Path) -> Path:
    """Write the archive anew with another pickle: its checksums are right."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as copy:
        for entry in archive.infolist():
            content = pickled if entry.filename.endswith("data.pkl") else archive.read(entry)
            copy.writestr(entry.filename, content)
    return target


def pickle_of(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def test_a_pickle_that_asks_for_gigabytes_is_refused(small_file: Path, tmp_path: Path) -> None:
    huge_memo = b"\x80\x02}r\xff\xff\xff\xff."
    with pytest.raises(WeightsError, match="a place in its memory that it cannot need: 4294967295"):
        read_yolov5_checkpoint(with_pickle(small_file, huge_memo, tmp_path / "huge.pt"))


def readable(path: Path) -> bool:
    try:
        read_yolov5_checkpoint(path)
    except WeightsError:
        return False
    return True


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_refused(small_file: Path, data: st.DataObject) -> None:
    content = small_file.read_bytes()
    path = small_file.with_name("truncated.pt")
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert not readable(path)
    assert not is_pickled_network(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_changed_pickle_raises_nothing_but_the_projects_error(small_file: Path, data: st.DataObject) -> None:
    pickled = bytearray(pickle_of(small_file))
    for _ in range(data.draw(st.integers(1, 3))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    readable(with_pickle(small_file, bytes(pickled), small_file.with_name("changed.pt")))
