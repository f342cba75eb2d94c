"""Which cards torch can compute on, and which device a run takes where it cannot."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cards import ARCHITECTURES, FakeCard, install
from tests.present import present

from eightgig.core import device
from eightgig.core.device import resolve_device
from eightgig.core.errors import ConfigurationError
from eightgig.core.kernels import built_architectures, covers, has_kernels, lack_of_kernels, torch_with_kernels

GTX_1080: dict[str, Any] = {"name": "NVIDIA GeForce GTX 1080", "capability": (6, 1)}
TITAN_V = {"name": "NVIDIA TITAN V", "capability": (7, 0)}


@pytest.fixture(autouse=True)
def forget():
    device._warn_once.cache_clear()
    yield
    device._warn_once.cache_clear()


@pytest.mark.parametrize(
    ("capability", "covered"),
    [
        ((7, 5), True),
        ((8, 6), True),
        ((8, 9), True),
        ((7, 0), False),
        ((6, 1), False),
        ((12, 1), True),
        ((11, 0), False),
    ],
)
def test_kernels_serve_the_same_major_and_higher_minors(capability, covered):
    assert covers(ARCHITECTURES, capability) is covered


def test_ptx_serves_newer_cards_and_a_suffix_only_its_own_or_its_family():
    assert covers(("compute_90",), (12, 0))
    assert not covers(("compute_90",), (8, 6))
    assert covers(("sm_90a",), (9, 0))
    assert not covers(("sm_120a",), (12, 1))
    assert covers(("sm_100f",), (10, 3))
    assert not covers(("compute_100f",), (12, 0))
    assert not covers(("gfx90a", ""), (9, 0))


@pytest.mark.parametrize(
    ("architectures", "cuda", "capability", "expected"),
    [
        (ARCHITECTURES, "13.0", (6, 1), False),
        (ARCHITECTURES, "13.0", (8, 6), True),
        (("sm_50", "sm_60"), "12.6", (6, 1), True),
        (None, "13.0", (7, 0), False),  # no toolkit of CUDA 13 builds for it
        (None, "13.2", (7, 5), None),
        (None, "12.8", (6, 1), None),
        ((), None, (6, 1), None),
    ],
)
def test_what_is_not_known_is_not_guessed(architectures, cuda, capability, expected):
    assert has_kernels(architectures, cuda, capability) is expected


@pytest.mark.parametrize("card", [GTX_1080, TITAN_V])
def test_auto_leaves_a_card_without_kernels_alone_and_says_so_once(monkeypatch, caplog, card):
    install(monkeypatch, [FakeCard(**card)])
    assert [resolve_device("auto") for _ in range(3)] == ["cpu"] * 3
    (record,) = caplog.records
    capability = ".".join(map(str, card["capability"]))
    assert record.getMessage() == (
        f"the CPU is used: torch {torch.__version__} has no kernels for the {card['name']} (compute capability "
        f"{capability}): it was built for sm_75, sm_80, sm_86, sm_90, sm_100, sm_120. The way out: pip install "
        f"--force-reinstall torch=={torch.__version__.partition('+')[0]} torchvision --index-url "
        "https://download.pytorch.org/whl/cu126"
    )


def test_cuda_without_kernels_is_refused_with_the_same_facts(monkeypatch):
    install(monkeypatch, [FakeCard(**GTX_1080)])
    with pytest.raises(
        ConfigurationError, match=r"GTX 1080 \(compute capability 6\.1\).*built for sm_75.*cu126; or set the parameter"
    ):
        resolve_device("cuda")
    assert resolve_device("cpu") == "cpu"


def test_another_card_of_the_machine_that_has_kernels_is_named(monkeypatch):
    install(monkeypatch, [FakeCard(**GTX_1080), FakeCard(uuid="2", name="NVIDIA GeForce RTX 3060")])
    lack = lack_of_kernels()
    assert lack is not None
    assert lack.way_out == "set CUDA_VISIBLE_DEVICES=GPU-2, which is the NVIDIA GeForce RTX 3060, with kernels"


def test_the_card_in_use_counts_whatever_stands_beside_it(monkeypatch):
    install(monkeypatch, [FakeCard(**GTX_1080), FakeCard(uuid="2")], current=1)
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"


def test_a_build_that_does_not_say_what_it_was_built_for_is_believed(monkeypatch):
    install(monkeypatch, [FakeCard(capability=(8, 6))], built=())
    assert resolve_device("cuda") == "cuda"
    install(monkeypatch, [FakeCard(**GTX_1080)], built=())
    assert resolve_device("auto") == "cpu"  # no CUDA 13 has kernels for it


def test_what_torch_was_built_for_is_read_from_its_library():
    if torch.version.cuda is None:
        pytest.skip("torch is built for the CPU")
    assert built_architectures(Path(torch.__file__).parent) == tuple(present(torch._C._cuda_getArchFlags()).split())


@pytest.mark.parametrize("library", ["libtorch_python.so", "torch_python.dll"])
def test_the_longest_list_of_architectures_alone_counts(tmp_path, library):
    (tmp_path / "lib").mkdir()
    texts = (b"sm_86", b"sm_%d is not supported", b"sm_75 sm_90a compute_90", b"sm_")
    (tmp_path / "lib" / library).write_bytes(b"\x7fELF\0" + b"\0".join(texts) + b"\0")
    assert built_architectures(tmp_path) == ("sm_75", "sm_90a", "compute_90")


def test_where_there_is_nothing_to_read_nothing_is_known(tmp_path):
    (tmp_path / "lib").mkdir()
    assert built_architectures(tmp_path) is None
    (tmp_path / "lib" / "libtorch_python.so").write_bytes(b"")
    assert built_architectures(tmp_path) is None
    (tmp_path / "lib" / "libtorch_python.so").write_bytes(b"nothing of the kind")
    assert built_architectures(tmp_path) is None


def test_a_card_that_no_wheel_serves():
    assert torch_with_kernels("2.14.1+cu130", (13, 0)) == (
        "look for a torch whose torch.cuda.get_arch_list() names sm_130 (https://pytorch.org/get-started/locally)"
    )


@pytest.mark.gpu
def test_the_card_at_hand_computes_where_it_is_said_to():
    if resolve_device("auto") == "cuda":
        assert float(torch.ones(4, device="cuda").sum()) == 4
    else:
        with pytest.raises(RuntimeError, match="no kernel image"):
            torch.ones(4, device="cuda").sum().item()
