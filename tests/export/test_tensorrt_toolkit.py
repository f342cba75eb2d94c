"""Nothing fails without TensorRT: the caller gets a reason."""

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest

from eightgig.core.errors import ExportError
from eightgig.export.tensorrt import toolkit
from eightgig.export.tensorrt.machine import EngineMachine, describe_capability, require_gpu
from eightgig.export.tensorrt.records import BatchProfile, EngineRequest
from eightgig.export.tensorrt.targets import target_of
from eightgig.export.tensorrt.toolkit import Toolkit, find_toolkit, missing_reason

NO_GPU = EngineMachine(compute_capability=None, gpu=None, driver=None, platform="Linux x86_64")
RTX_3070 = EngineMachine(
    compute_capability=(8, 6), gpu="NVIDIA GeForce RTX 3070", driver="580.1", platform="Linux x86_64"
)


def module(name: str, version: str) -> ModuleType:
    made = ModuleType(name)
    made.__version__ = version  # type: ignore[attr-defined]
    made.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)  # type: ignore[attr-defined]
    made.ComputeCapability = SimpleNamespace(  # type: ignore[attr-defined]
        __members__={"NONE": 0, "CURRENT": 1, "SM86": 86, "SM120": 120}
    )
    return made


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """What is installed, by name."""
    modules: dict[str, ModuleType] = {}
    monkeypatch.setattr(toolkit, "find_spec", modules.get)
    monkeypatch.setattr(toolkit, "import_module", modules.__getitem__)
    toolkit._load.cache_clear()
    yield modules
    toolkit._load.cache_clear()


def test_without_any_the_reason_has_the_line_that_installs_one(installed: dict[str, ModuleType]) -> None:
    assert missing_reason() == "TensorRT for RTX is not installed. To install it: pip install tensorrt-rtx"
    with pytest.raises(
        ExportError,
        match=r"TensorRT is not installed.*pip install tensorrt --extra-index-url https://pypi.nvidia.com",
    ):
        find_toolkit("tensorrt")


def test_auto_takes_tensorrt_only_where_there_is_a_gpu(
    installed: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed |= {"tensorrt": module("tensorrt", "11.4.0"), "tensorrt_rtx": module("tensorrt_rtx", "1.7.1.116")}
    assert missing_reason() is None
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert find_toolkit().name == "tensorrt_rtx"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert (find_toolkit().name, find_toolkit().title, find_toolkit().version) == ("tensorrt", "TensorRT", "11.4.0")
    del installed["tensorrt"]
    assert find_toolkit().name == "tensorrt_rtx"


def test_a_version_that_is_too_old_is_refused(installed: dict[str, ModuleType]) -> None:
    installed["tensorrt"] = module("tensorrt", "8.6.1")
    with pytest.raises(ExportError, match=r"TensorRT: wanted version 10 or newer, found 8\.6\.1"):
        find_toolkit("tensorrt")


def test_a_broken_installation_is_told(installed: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    installed["tensorrt_rtx"] = module("tensorrt_rtx", "1.7")

    def fail(name: str) -> ModuleType:
        raise ImportError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(toolkit, "import_module", fail)
    with pytest.raises(ExportError, match=r"installed but cannot be loaded: libnvinfer\.so\.11.*Install it again"):
        find_toolkit()


def test_only_tensorrt_10_needs_a_flag_for_typed_networks() -> None:
    assert Toolkit("tensorrt", module("tensorrt", "10.16.1")).network_flags() == 1 << 1
    assert Toolkit("tensorrt", module("tensorrt", "11.4.0")).network_flags() == 0
    assert Toolkit("tensorrt_rtx", module("tensorrt_rtx", "1.7.1")).network_flags() == 0


def test_rtx_builds_for_named_cards_without_a_gpu() -> None:
    rtx = Toolkit("tensorrt_rtx", module("tensorrt_rtx", "1.7.1"))
    assert target_of(EngineRequest(), rtx, NO_GPU) == (8, 6)
    assert target_of(EngineRequest(compute_capability=(12, 0)), rtx, RTX_3070) == (12, 0)
    assert target_of(EngineRequest(compute_capability="current"), rtx, RTX_3070) == (8, 6)
    with pytest.raises(ExportError, match=r"wanted to build for the card in this machine, found no GPU"):
        target_of(EngineRequest(compute_capability="current"), rtx, NO_GPU)
    with pytest.raises(
        ExportError, match=r"builds for SM86, SM120, not for sm_90 \(H100.*\)\. Use torch\.compile there"
    ):
        target_of(EngineRequest(compute_capability=(9, 0)), rtx, NO_GPU)


def test_tensorrt_builds_on_the_card_alone() -> None:
    plain = Toolkit("tensorrt", module("tensorrt", "11.4.0"))
    assert target_of(EngineRequest(), plain, RTX_3070) == (8, 6)
    with pytest.raises(ExportError, match=r"TensorRT: wanted to build .* found no GPU.*\(pip install tensorrt-rtx\)"):
        target_of(EngineRequest(), plain, NO_GPU)
    with pytest.raises(ExportError, match=r"NVIDIA GeForce RTX 3070, and not for sm_89 \(RTX 40"):
        target_of(EngineRequest(compute_capability=(8, 9)), plain, RTX_3070)


def test_running_waits_for_the_card_that_an_engine_is_for() -> None:
    require_gpu(RTX_3070, (8, 6))
    with pytest.raises(ExportError, match=r"built for sm_86 \(RTX 30.*\); running it waits for a GPU"):
        require_gpu(NO_GPU, (8, 6))
    with pytest.raises(ExportError, match=r"built for sm_99, found NVIDIA GeForce RTX 3070 with sm_86"):
        require_gpu(RTX_3070, (9, 9))
    assert "RTX 3070" in describe_capability((8, 6))


def test_a_batch_profile_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted smallest <= usual <= largest, found 1, 8, 4"):
        BatchProfile(usual=8, largest=4)
