"""What the doctor says of machines made by hand: a good desktop, a laptop in WSL, a container, and broken ones."""

import re
from typing import Any

import pytest

from eightgig.core.units import GIB, MIB
from eightgig.doctor import CHECKS, Machine, examine
from eightgig.doctor.checks import outlook
from eightgig.doctor.disk import Disk
from eightgig.doctor.driver_checks import tensor_core_formats
from eightgig.doctor.graphics import Gpu, GpuProcess, Graphics
from eightgig.doctor.host import Host
from eightgig.doctor.software import Software, Torch

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")  # torch 2.14.1+cu130


def rtx3070(**changes: Any) -> Gpu:
    known: dict[str, Any] = {
        "index": 0,
        "name": "NVIDIA GeForce RTX 3070",
        "uuid": "GPU-1",
        "capability": (8, 6),
        "total_bytes": 8 * GIB,
        "free_bytes": int(7.8 * GIB),
        "processes": (),
        "display_active": False,
        "temperature_c": 45,
        "slowdown_c": 95,
        "power_w": 22.0,
        "power_limit_w": 220.0,
        "power_default_w": 220.0,
        "slowed_by": (),
        "pcie_width": 16,
        "pcie_max_width": 16,
        "pcie_max_generation": 4,
        "persistence": True,
        "compute_mode": "default",
    }
    return Gpu(**known | changes)


def torch_of(**changes: Any) -> Torch:
    known: dict[str, Any] = {
        "version": "2.14.1+cu130",
        "cuda": "13.0",
        "architectures": ARCHITECTURES,
        "tf32_products": False,
        "tf32_convolutions": True,
        "threads": 8,
    }
    return Torch(**known | changes)


def machine(
    *,
    gpu: Gpu | None = None,
    graphics: dict[str, Any] | None = None,
    host: dict[str, Any] | None = None,
    software: dict[str, Any] | None = None,
    disk: dict[str, Any] | None = None,
) -> Machine:
    """A good desktop around `gpu` (an RTX 3070 when None), changed where asked."""
    cards = {"driver": "580.95.05", "driver_cuda": (13, 0), "gpus": (gpu or rtx3070(),)}
    around = {
        "system": "Linux",
        "nvidia_on_bus": True,
        "cores": 16,
        "loader_workers": 4,
        "memory_bytes": 32 * GIB,
        "memory_available_bytes": 28 * GIB,
        "shm_bytes": 16 * GIB,
        "shm_free_bytes": 16 * GIB,
        "open_files": 1024,
    }
    installed = {
        "python": "3.12.4",
        "torch": torch_of(),
        "tensorrt": {"tensorrt-cu13": "11.4.0.106"},
        "onnxruntime": {"onnxruntime": "1.32.0"},
    }
    drive: dict[str, Any] = {"folder": "data", "kind": "NVMe", "device": "nvme0n1", "file_system": "ext4"}
    drive |= {"total_bytes": 1000 * GIB, "free_bytes": 400 * GIB}
    return Machine(
        graphics=Graphics(**cards | (graphics or {})),
        host=Host(**around | (host or {})),
        software=Software(**installed | (software or {})),
        disk=Disk(**drive | (disk or {})),
    )


def without_gpu(**parts: Any) -> Machine:
    nothing = {"driver": None, "driver_cuda": None, "gpus": (), "silence": "NVML Shared Library Not Found"}
    return machine(**{"graphics": nothing, **parts, "host": {"nvidia_on_bus": False, **parts.get("host", {})}})


def said(of: Machine, code: str) -> Any:
    return next((advice for advice in examine(of) if advice.code == code), None)


def status(of: Machine, code: str) -> str | None:
    advice = said(of, code)
    return None if advice is None else advice.status


# whole machines


def test_a_good_desktop_has_nothing_to_change_but_one_note():
    advice = examine(machine())
    assert [item.code for item in advice if item.status != "ok"] == ["DOC005"]
    assert [item.code for item in advice] == [f"DOC{number:03}" for number in range(1, 25)]
    assert said(machine(), "DOC001").what_is == "NVIDIA GeForce RTX 3070, 8.0 GiB, compute capability 8.6"
    assert said(machine(), "DOC004").what_is == "fp16, int8, bf16, tf32"
    assert outlook(machine(), advice).startswith("Runs use NVIDIA GeForce RTX 3070, within plan.budget_gib")


def test_what_is_ok_has_nothing_to_do_and_what_is_serious_has():
    of = [machine(), without_gpu(), WSL_LAPTOP, CONTAINER, OLD_DRIVER, SHARED]
    for advice in (item for each in of for item in examine(each)):
        assert advice.what_is and advice.wanted
        assert bool(advice.to_do) if advice.is_serious else advice.status == "note" or not advice.to_do, advice


def test_codes_follow_the_order_of_the_checks_and_are_in_their_docstrings():
    codes = [re.match(r"(DOC\d{3}): ", check.__doc__ or "") for check in CHECKS]
    assert sorted(match[1] for match in codes if match) == [f"DOC{number:03}" for number in range(1, 25)]


WSL_LAPTOP = machine(
    gpu=rtx3070(
        name="NVIDIA GeForce RTX 3070 Laptop GPU",
        free_bytes=int(6.4 * GIB),
        driver_model="wddm",
        power_limit_w=None,
        power_default_w=None,
        persistence=None,
    ),
    host={"is_wsl": True, "nvidia_on_bus": None, "memory_bytes": 6 * GIB, "memory_available_bytes": 5 * GIB},
    disk={"folder": "/mnt/c/photos", "kind": "Windows drive", "device": None, "file_system": "9p"},
)


def test_a_laptop_in_wsl():
    assert status(WSL_LAPTOP, "DOC009") == "note"
    assert "Prefer No Sysmem Fallback" in said(WSL_LAPTOP, "DOC009").to_do
    assert said(WSL_LAPTOP, "DOC007").what_is == "cannot be seen from here"
    assert "Task Manager" in said(WSL_LAPTOP, "DOC007").to_do
    assert said(WSL_LAPTOP, "DOC019").to_do == (
        "WSL gets half of it; for more: memory=12GB in %UserProfile%\\.wslconfig"
    )
    assert said(WSL_LAPTOP, "DOC022").to_do == (
        "Windows' drives are slow to read from WSL: export EIGHTGIG_DATA=~/eightgig-data"
    )
    assert said(WSL_LAPTOP, "DOC012") is None  # laptops do not tell their power limit


CONTAINER = without_gpu(
    host={"is_container": True, "shm_bytes": 64 * MIB, "shm_free_bytes": 64 * MIB, "cores": 8},
    software={"torch": torch_of(version="2.14.1+cpu", cuda=None, architectures=())},
    disk={"kind": None, "file_system": "overlay", "device": None},
)


def test_a_container_without_gpu_and_with_dockers_shared_memory():
    shm = said(CONTAINER, "DOC020")
    assert (shm.status, shm.what_is) == ("problem", "64.0 MiB free in /dev/shm")
    assert shm.wanted == "169 MiB: 9 batches of 16 x 640 px"  # 9 x 16 x 3 x 640 x 640 bytes
    assert shm.to_do.startswith("docker run --shm-size=1g (its default is 64 MiB), or --params")
    assert status(CONTAINER, "DOC001") == "note"
    assert said(CONTAINER, "DOC001").to_do == "if there is a card: start the container with --gpus all"
    assert status(CONTAINER, "DOC003") == "ok"
    assert [item.code for item in examine(CONTAINER) if item.status == "problem"] == ["DOC020"]
    assert said(CONTAINER, "DOC022") is None
    assert outlook(CONTAINER, examine(CONTAINER)).startswith("Runs use the CPU. The built-in samples take minutes")


def test_without_loader_processes_any_shared_memory_will_do():
    few = without_gpu(host={"cores": 2, "loader_workers": 0, "shm_free_bytes": MIB})
    assert status(few, "DOC020") == "ok"
    assert status(without_gpu(host={"loader_workers": 3, "shm_free_bytes": 64 * MIB}), "DOC020") == "warning"


OLD_DRIVER = machine(graphics={"driver": "470.256.02", "driver_cuda": (11, 4)})


def test_the_articles_driver_is_too_old_for_todays_torch():
    advice = said(OLD_DRIVER, "DOC002")
    assert advice.sentence() == (
        "DOC002 driver: 470.256.02, serves CUDA up to 11.4; "
        "wanted: 580 or newer for torch's CUDA 13.0; the article's 470 and CUDA 11.1 were for torch 1.8; "
        "to do: install driver 580 or newer (Ubuntu: sudo ubuntu-drivers install) and restart. "
        "No CUDA toolkit is needed: torch brings its own"
    )
    assert outlook(OLD_DRIVER, examine(OLD_DRIVER)).startswith("Until DOC002 is solved, runs use the CPU.")


SHARED = machine(
    gpu=rtx3070(
        free_bytes=int(5.17 * GIB),
        display_active=True,
        processes=(
            GpuProcess(pid=7, name="Xorg", used_bytes=300 * MIB),
            GpuProcess(pid=8, name="firefox", used_bytes=2 * GIB),
            GpuProcess(pid=9, used_bytes=None),
            GpuProcess(pid=10, name="code", used_bytes=90 * MIB),
        ),
    )
)


def test_a_card_shared_with_a_browser():
    assert said(SHARED, "DOC007").sentence() == (
        "DOC007 shared with: firefox (pid 8, 2.0 GiB), Xorg (pid 7, 300.0 MiB), code (pid 10, 90.0 MiB) and 1 more; "
        "wanted: nobody while a run lasts; to do: close them; in browsers switch hardware acceleration off"
    )
    memory = said(SHARED, "DOC006")
    assert (memory.status, memory.what_is) == ("warning", "5.2 of 8.0 GiB free")
    assert memory.to_do == ("close what DOC007 names; or plan with what is free: --params <case>.plan.budget_gib=5.1")
    assert status(SHARED, "DOC008") == "note"
    assert status(SHARED, "DOC009") == "ok"


# driver and torch


@pytest.mark.parametrize(
    ("version", "serves", "torch_cuda", "expected"),
    [
        ("580.65.06", (13, 0), "13.0", "ok"),
        ("580.65.06", (13, 0), "13.2", "ok"),  # minor versions are compatible
        ("575.57.08", (12, 9), "13.0", "problem"),
        ("575.57.08", (12, 9), "12.6", "ok"),
        ("525.60.13", None, "12.8", "ok"),
        ("520.61.05", None, "12.8", "problem"),
        ("640.10", (14, 0), "13.0", "ok"),
        ("580.65.06", (13, 0), "14.0", "problem"),  # newer than the table
        ("470.256.02", (11, 4), None, "ok"),
    ],
)
def test_driver_against_torchs_cuda(version, serves, torch_cuda, expected):
    of = machine(graphics={"driver": version, "driver_cuda": serves}, software={"torch": torch_of(cuda=torch_cuda)})
    assert status(of, "DOC002") == expected


def test_a_cuda_12_driver_may_keep_itself_with_another_torch():
    of = machine(graphics={"driver": "550.120", "driver_cuda": (12, 4)})
    assert "or take a torch for CUDA 12" in said(of, "DOC002").to_do
    assert (
        "in Windows"
        in said(
            machine(host={"system": "Windows"}, graphics={"driver": "550.1", "driver_cuda": (12, 4)}), "DOC002"
        ).to_do
    )


def test_a_cpu_build_beside_a_card_is_a_problem():
    of = machine(software={"torch": torch_of(version="2.14.1+cpu", cuda=None, architectures=())})
    advice = said(of, "DOC003")
    assert advice.status == "problem"
    assert advice.what_is == "2.14.1+cpu, built for the CPU: the card is not used"
    assert advice.to_do == (
        "pip install --force-reinstall torch==2.14.1 torchvision --index-url https://download.pytorch.org/whl/cu130"
    )


def test_a_card_without_kernels_in_torch():
    of = machine(gpu=rtx3070(name="NVIDIA GeForce GTX 1080", capability=(6, 1)))
    advice = said(of, "DOC003")
    assert advice.status == "problem"
    assert advice.what_is == (
        "2.14.1+cu130, built for CUDA 13.0, kernels for sm_75, sm_80, sm_86, sm_90, sm_100, sm_120; none for the "
        "NVIDIA GeForce GTX 1080 (6.1)"
    )
    assert advice.to_do == (
        "pip install --force-reinstall torch==2.14.1 torchvision --index-url https://download.pytorch.org/whl/cu126; "
        "or leave it: runs use the CPU"
    )
    assert outlook(of, examine(of)).startswith("Until DOC003 is solved, runs use the CPU.")
    assert status(of, "DOC004") == "warning"
    assert said(of, "DOC005") is None


def test_torch_that_is_old_or_missing():
    assert status(machine(software={"torch": torch_of(version="2.8.0+cu128", cuda="12.8")}), "DOC003") == "problem"
    assert said(machine(software={"torch": None}), "DOC003").what_is == "not installed"


def test_a_build_that_cannot_be_read_is_judged_by_its_cuda():
    unread = torch_of(architectures=None)
    assert status(machine(software={"torch": unread}), "DOC003") == "ok"
    of = machine(gpu=rtx3070(name="NVIDIA TITAN V", capability=(7, 0)), software={"torch": unread})
    assert status(of, "DOC003") == "problem"
    older = torch_of(version="2.14.1+cu126", cuda="12.6", architectures=None)
    assert status(machine(gpu=rtx3070(capability=(7, 0)), software={"torch": older}), "DOC003") == "ok"


def test_of_several_cards_the_one_with_kernels_is_named():
    old = rtx3070(name="NVIDIA GeForce GTX 1080", capability=(6, 1), uuid="GPU-9")
    of = machine(graphics={"gpus": (old, rtx3070(index=1))})
    assert said(of, "DOC003").to_do == "CUDA_VISIBLE_DEVICES=GPU-1, which is the NVIDIA GeForce RTX 3070, with kernels"
    counted = machine(graphics={"gpus": (old, rtx3070(index=1)), "cuda_order": ("GPU-1", "GPU-9")})
    assert status(counted, "DOC003") == "ok"
    assert outlook(counted, examine(counted)).startswith("Runs use NVIDIA GeForce RTX 3070")


@pytest.mark.parametrize(
    ("name", "capability", "formats"),
    [
        ("Tesla V100", (7, 0), ("fp16",)),
        ("NVIDIA GeForce RTX 2080", (7, 5), ("fp16", "int8")),
        ("NVIDIA GeForce GTX 1660", (7, 5), ()),
        ("NVIDIA GeForce RTX 3070", (8, 6), ("fp16", "int8", "bf16", "tf32")),
        ("NVIDIA GeForce RTX 4070", (8, 9), ("fp16", "int8", "bf16", "tf32", "fp8")),
    ],
)
def test_formats_of_tensor_cores(name, capability, formats):
    assert tensor_core_formats(name, capability) == formats


def test_tf32():
    assert status(machine(software={"torch": torch_of(tf32_products=True)}), "DOC005") == "ok"
    assert said(machine(software={"torch": torch_of(tf32_products=None)}), "DOC005") is None


# no card, several cards, hidden cards


def test_a_card_whose_driver_does_not_answer():
    of = without_gpu(host={"nvidia_on_bus": True})
    assert said(of, "DOC001").sentence() == (
        "DOC001 GPU: an NVIDIA card is built in, but its driver does not answer (NVML Shared Library Not Found); "
        "wanted: a driver that answers: nvidia-smi shows the card; "
        "to do: install the NVIDIA driver (Ubuntu: sudo ubuntu-drivers install) and restart"
    )
    inside = without_gpu(host={"nvidia_on_bus": True, "is_container": True})
    assert said(inside, "DOC001").to_do == "start the container with --gpus all"


def test_no_card_at_all_is_no_problem():
    advice = said(without_gpu(), "DOC001")
    assert (advice.status, advice.what_is, advice.to_do) == ("note", "no NVIDIA card", "")
    assert advice.wanted == "none for samples, planning and export; one for the full recipes"
    assert "none in WSL" in said(without_gpu(host={"is_wsl": True}), "DOC001").to_do
    assert all(not item.is_serious for item in examine(without_gpu()))


@pytest.mark.parametrize(("setting", "used"), [("1", 1), ("GPU-2", 1), ("1,0", 1), ("0", 0), (None, 0)])
def test_several_cards(setting, used):
    both = (rtx3070(), rtx3070(index=1, uuid="GPU-2", name="NVIDIA GeForce RTX 3090", total_bytes=24 * GIB))
    of = machine(graphics={"gpus": both}, software={"visible_devices": setting})
    assert of.gpu is both[used]
    assert status(of, "DOC001") == "note"
    assert said(of, "DOC001").to_do.endswith(f"CUDA_VISIBLE_DEVICES={1 - used}")


@pytest.mark.parametrize(
    ("order", "setting", "used"),
    [
        (("GPU-2", "GPU-1"), None, 1),  # CUDA counts the fastest first, the bus does not
        (("GPU-1", "GPU-2"), None, 0),
        (("GPU-2",), "0", 1),  # CUDA's 0 is not NVML's
        (("GPU-unknown",), "1", 1),  # a part of a card, or a container: as it was told without it
        (None, "1", 1),
        ((), None, 0),
    ],
)
def test_the_card_is_the_one_that_cuda_counts_first(order, setting, used):
    both = (rtx3070(), rtx3070(index=1, uuid="GPU-2", name="NVIDIA GeForce RTX 3090", total_bytes=24 * GIB))
    of = machine(graphics={"gpus": both, "cuda_order": order}, software={"visible_devices": setting})
    assert of.gpu is both[used]
    assert said(of, "DOC001").what_is.startswith(both[used].name)


@pytest.mark.parametrize("setting", ["", "-1", "7", "GPU-9"])
def test_a_hidden_card(setting):
    of = machine(software={"visible_devices": setting})
    assert of.gpu is None
    assert said(of, "DOC001").what_is == f"CUDA_VISIBLE_DEVICES={setting!r} hides NVIDIA GeForce RTX 3070"
    assert said(of, "DOC001").to_do == "unset CUDA_VISIBLE_DEVICES"


# use of the card


@pytest.mark.parametrize(
    ("total", "free", "expected"),
    [(24, 23, "ok"), (24, 6.5, "warning"), (8, 7.2, "note"), (8, 7.75, "ok"), (6, 5.9, "ok"), (6, 5.5, "note")],
)
def test_free_memory_against_the_budget(total, free, expected):
    of = machine(gpu=rtx3070(total_bytes=int(total * GIB), free_bytes=int(free * GIB)))
    assert status(of, "DOC006") == expected
    assert said(of, "DOC006").wanted.startswith(f"{min(8, total)} GiB")


def test_where_a_full_card_spills_plans_are_for_what_is_free():
    of = machine(gpu=rtx3070(free_bytes=int(6.5 * GIB), driver_model="wddm"), host={"system": "Windows"})
    assert said(of, "DOC006").to_do == "close what DOC007 names; or nothing to set: plans are made for what is free"
    assert "Runs keep to what is free when they begin" in said(of, "DOC009").what_is
    assert outlook(of, examine(of)).endswith("(8 GiB unless you say otherwise) and what is free of it.")


def test_spilling_by_system_and_driver_model():
    windows = {
        "system": "Windows",
        "nvidia_on_bus": None,
        "open_files": None,
        "shm_bytes": None,
        "shm_free_bytes": None,
    }
    assert status(machine(gpu=rtx3070(driver_model="wddm"), host=windows), "DOC009") == "note"
    assert status(machine(gpu=rtx3070(driver_model="tcc"), host=windows), "DOC009") == "ok"
    full = machine(gpu=rtx3070(driver_model="wddm", free_bytes=6 * GIB), host=windows)
    assert status(full, "DOC009") == "note"  # runs keep to what is free
    assert said(full, "DOC020") is None
    assert said(full, "DOC021") is None


@pytest.mark.parametrize(
    ("software", "host", "expected"),
    [
        ({}, {}, "ok"),
        ({"allocator_settings": "expandable_segments:True"}, {}, "note"),
        ({"allocator_settings": "expandable_segments:True"}, {"is_wsl": True}, "warning"),
        ({"allocator_settings": "backend:cudaMallocAsync"}, {}, "warning"),
        ({"caching_off": True}, {}, "warning"),
    ],
)
def test_allocator_settings(software, host, expected):
    assert status(machine(software=software, host=host), "DOC010") == expected


def test_heat_and_power():
    assert said(machine(), "DOC011").wanted == "below 95 °C, where it slows down"
    assert status(machine(gpu=rtx3070(temperature_c=91)), "DOC011") == "warning"
    slowed = machine(gpu=rtx3070(temperature_c=80, slowed_by=("heat",)))
    assert said(slowed, "DOC011").what_is == "80 °C now, slowed down by heat"
    assert said(machine(gpu=rtx3070(power_limit_w=170.0)), "DOC012").to_do.endswith("sudo nvidia-smi -pl 220")
    braked = said(machine(gpu=rtx3070(slowed_by=("power supply",))), "DOC012")
    assert (braked.status, "cables" in braked.to_do) == ("warning", True)
    assert said(machine(), "DOC012").what_is == "22 W drawn now, limit 220 of 220 W"


def test_link():
    assert said(machine(), "DOC013").what_is == "x16 of x16, PCIe 4: 31.5 GB/s"
    narrow = said(machine(gpu=rtx3070(pcie_width=4, pcie_max_generation=3)), "DOC013")
    assert (narrow.status, narrow.what_is) == ("note", "x4 of x16, PCIe 3: 3.9 GB/s")
    assert narrow.wanted.startswith("0.08 GB/s for one card")  # 280 x 3 x 300 x 300 bytes
    assert said(machine(gpu=rtx3070(pcie_max_generation=2)), "DOC013").what_is == "x16 of x16"


def test_readiness():
    assert status(machine(gpu=rtx3070(compute_mode="prohibited")), "DOC014") == "problem"
    busy = rtx3070(compute_mode="exclusive", processes=(GpuProcess(pid=5),))
    assert status(machine(gpu=busy), "DOC014") == "warning"
    assert status(machine(gpu=rtx3070(persistence=False)), "DOC014") == "note"
    assert status(machine(gpu=rtx3070(persistence=False, display_active=True)), "DOC014") == "ok"


@pytest.mark.parametrize(
    ("packages", "capability", "expected"),
    [
        ({}, (8, 6), "note"),
        ({"tensorrt-cu12": "10.16"}, (8, 6), "warning"),
        ({"tensorrt": "11.4", "tensorrt-cu13": "11.4"}, (8, 6), "ok"),
        ({"tensorrt-rtx": "1.7.1"}, (8, 6), "ok"),
        ({"tensorrt-rtx": "1.7.1"}, (9, 0), "note"),
    ],
)
def test_tensorrt_against_torchs_cuda(packages, capability, expected):
    of = machine(gpu=rtx3070(capability=capability), software={"tensorrt": packages})
    assert status(of, "DOC015") == expected
    assert said(machine(software={"tensorrt": {}}), "DOC015").to_do == (
        "for engines: pip install --extra-index-url https://pypi.nvidia.com tensorrt-cu13"
    )


def test_two_onnx_runtimes():
    both = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}
    assert status(machine(software={"onnxruntime": both}), "DOC016") == "warning"


# around the card


def test_cores_and_a_containers_share_of_them():
    assert said(machine(), "DOC017").what_is == "16, of which 4 load"
    assert status(machine(host={"cores": 2, "loader_workers": 0}), "DOC017") == "warning"
    assert status(without_gpu(host={"cores": 2, "loader_workers": 0}), "DOC017") == "note"
    limited = said(machine(host={"quota_cores": 2.0}), "DOC017")
    assert limited.what_is == "16 are seen, the container allows the time of 2.0: too many threads will fight"
    assert limited.to_do.startswith("export OMP_NUM_THREADS=2; --params <case>.train.num_workers=0;")


@pytest.mark.parametrize(
    ("setting", "cores", "gpu", "expected"),
    [
        (None, 16, True, "ok"),
        ("8", 16, True, "ok"),
        ("32", 16, True, "warning"),
        ("1", 4, False, "note"),
        ("4,2", 4, True, "ok"),
    ],
)
def test_threads(setting, cores, gpu, expected):
    make = machine if gpu else without_gpu
    assert status(make(host={"omp_threads": setting, "cores": cores}), "DOC018") == expected


def test_main_memory():
    small = {"memory_bytes": 4 * GIB, "memory_available_bytes": 3 * GIB}
    assert said(machine(host=small), "DOC019").to_do.startswith("--params <case>.train.num_workers=0")
    full = {"memory_bytes": 16 * GIB, "memory_available_bytes": GIB}
    assert said(machine(host=full), "DOC019").to_do == "close programs: a run takes up to 3 GiB"
    limited = said(machine(host={"memory_limit_bytes": 4 * GIB}), "DOC019")
    assert (limited.status, limited.what_is) == ("warning", "4.0 of 4.0 GiB free (the container's limit)")


def test_open_files():
    assert said(machine(host={"open_files": 256}), "DOC021").to_do == "ulimit -n 1024"
    assert said(machine(host={"open_files": -1}), "DOC021").what_is == "no limit"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("SSD", "ok"),
        ("virtual disk", "ok"),
        ("hard disk", "warning"),
        ("network drive", "warning"),
        ("memory", "note"),
    ],
)
def test_kind_of_disk(kind, expected):
    of = machine(disk={"kind": kind})
    assert status(of, "DOC022") == expected
    if kind == "hard disk":  # 7,200 turns a minute: half a turn is 1 / 240 s
        assert "fewer than 240 images a second" in said(of, "DOC022").to_do


@pytest.mark.parametrize(("free", "expected"), [(0.5, "problem"), (5, "warning"), (50, "ok")])
def test_space_on_the_disk(free, expected):
    assert status(machine(disk={"free_bytes": int(free * GIB)}), "DOC023") == expected


@pytest.mark.parametrize(("version", "expected"), [("3.11.0", "ok"), ("3.13.9", "ok"), ("3.14.0rc1", "problem")])
def test_python(version, expected):
    assert status(machine(software={"python": version}), "DOC024") == expected


# nothing is guessed


def optional_fields(part: Any) -> list[str]:
    names = [name for name, field in type(part).model_fields.items() if field.default is None]
    assert names
    return names


@pytest.mark.parametrize("part", ["graphics", "host", "software", "disk"])
def test_any_reading_may_be_missing(part):
    good = machine()
    readings = getattr(good, part)
    for name in optional_fields(readings):
        without = good.model_copy(update={part: readings.model_copy(update={name: None})})
        assert not [item for item in examine(without) if item.status == "problem" and name not in ("torch", "cuda")]


def test_any_reading_of_the_card_or_of_torch_may_be_missing():
    for name in optional_fields(rtx3070()):
        assert examine(machine(gpu=rtx3070(**{name: None})))
    for name in optional_fields(torch_of()):
        assert examine(machine(software={"torch": torch_of(**{name: None})}))


def test_a_machine_of_which_nothing_is_known():
    bare = Machine(
        graphics=Graphics(gpus=(Gpu(index=0, name="card 0"),)),
        host=Host(system="Linux", cores=1),
        software=Software(python="3.12.0"),
        disk=Disk(folder="data"),
    )
    assert [item.code for item in examine(bare) if item.is_serious] == ["DOC003", "DOC017"]
