"""The doctor's readings: from an NVML made by hand, from folders made like /proc and /sys, and from this machine."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from eightgig.core.spilling import tells_wsl
from eightgig.core.units import GIB, MIB
from eightgig.doctor import diagnose
from eightgig.doctor.disk import read_disk
from eightgig.doctor.graphics import read_graphics
from eightgig.doctor.host import finds_nvidia, read_host, read_limits
from eightgig.doctor.software import read_software, read_torch


class FakeNvml:
    """NVML with one RTX 3070; `unknown` names what this driver does not answer."""

    class NVMLError(Exception):
        pass

    class NVMLLibraryMismatchError(Exception):
        pass

    def __init__(self, *, unknown: tuple[str, ...] = (), reasons: int = 0, refuses: bool = False) -> None:
        self.unknown, self.refuses = unknown, refuses
        self.open = 0
        mine = SimpleNamespace(pid=os.getpid(), usedGpuMemory=500 * MIB)
        gone = SimpleNamespace(pid=2**22 + 1, usedGpuMemory=700 * MIB)
        self.predictions: dict[str, Any] = {
            "nvmlSystemGetCudaDriverVersion_v2": 13010,
            "nvmlSystemGetDriverVersion": "590.44.01",
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetName": "NVIDIA GeForce RTX 3070",
            "nvmlDeviceGetUUID": "GPU-1",
            "nvmlDeviceGetCudaComputeCapability": (8, 6),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=8 * GIB, free=7 * GIB, used=GIB),
            "nvmlDeviceGetComputeRunningProcesses": [mine, gone],
            "nvmlDeviceGetGraphicsRunningProcesses": [gone],
            "nvmlSystemGetProcessName": "/usr/lib/firefox/firefox",
            "nvmlDeviceGetDisplayActive": 1,
            "nvmlDeviceGetCurrentDriverModel": 0,
            "nvmlDeviceGetTemperatureV": 61,
            "nvmlDeviceGetTemperature": 60,
            "nvmlDeviceGetTemperatureThreshold": 95,
            "nvmlDeviceGetPowerUsage": 31_500,
            "nvmlDeviceGetEnforcedPowerLimit": 200_000,
            "nvmlDeviceGetPowerManagementDefaultLimit": 220_000,
            "nvmlDeviceGetCurrentClocksEventReasons": reasons,
            "nvmlDeviceGetCurrPcieLinkWidth": 8,
            "nvmlDeviceGetMaxPcieLinkWidth": 16,
            "nvmlDeviceGetMaxPcieLinkGeneration": 4,
            "nvmlDeviceGetPersistenceMode": 0,
            "nvmlDeviceGetComputeMode": 3,
        }

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        if self.refuses:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML's name
        self.open -= 1

    def __getattr__(self, name: str) -> Any:
        if name not in self.predictions:
            raise AttributeError(name)  # a pynvml too old to have it

        def call(*_arguments: Any) -> Any:
            if name in self.unknown:
                raise self.NVMLError("Not Supported")
            return self.predictions[name]

        return call


def test_what_nvml_tells():
    nvml = FakeNvml(reasons=0x1 | 0x20 | 0x40 | 0x80)
    graphics = read_graphics(nvml)
    assert (graphics.driver, graphics.driver_cuda, graphics.silence) == ("590.44.01", (13, 1), None)
    (gpu,) = graphics.gpus
    assert (gpu.name, gpu.capability) == ("NVIDIA GeForce RTX 3070", (8, 6))
    assert (gpu.total_bytes, gpu.free_bytes) == (8 * GIB, 7 * GIB)
    assert (gpu.temperature_c, gpu.slowdown_c, gpu.slowed_by) == (61, 95, ("heat", "power supply"))
    assert (gpu.power_w, gpu.power_limit_w, gpu.power_default_w) == (31.5, 200.0, 220.0)
    assert (gpu.pcie_width, gpu.pcie_max_width, gpu.pcie_max_generation) == (8, 16, 4)
    assert (gpu.display_active, gpu.persistence) == (True, False)
    assert (gpu.driver_model, gpu.compute_mode) == ("wddm", "exclusive")
    assert nvml.open == 0


def test_this_process_is_nobody_else_and_a_program_in_both_lists_counts_once():
    (process,) = read_graphics(FakeNvml()).gpus[0].processes or ()
    assert (process.pid, process.name, process.used_bytes) == (2**22 + 1, "firefox", 700 * MIB)


@pytest.mark.parametrize("name", sorted(FakeNvml().predictions))
def test_each_question_may_stay_unanswered(name):
    nvml = FakeNvml(unknown=(name,))
    graphics = read_graphics(nvml)
    assert nvml.open == 0
    assert len(graphics.gpus) == (name != "nvmlDeviceGetCount")


def test_older_drivers_know_older_names():
    nvml = FakeNvml(unknown=("nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons"))
    nvml.predictions["nvmlDeviceGetCurrentClocksThrottleReasons"] = 0x40
    gpu = read_graphics(nvml).gpus[0]
    assert (gpu.temperature_c, gpu.slowed_by) == (60, ("heat",))


def test_an_older_pynvml_lacks_functions_and_wsl_lists_no_programs():
    nvml = FakeNvml()
    for name in ("Compute", "Graphics"):
        del nvml.predictions[f"nvmlDeviceGet{name}RunningProcesses"]
    assert read_graphics(nvml).gpus[0].processes is None


def test_cuda_is_asked_for_its_order_where_there_are_several_cards(monkeypatch):
    asked = []
    monkeypatch.setattr("eightgig.doctor.graphics.cuda_order", lambda: asked.append(1) or ("GPU-2", "GPU-1"))
    nvml = FakeNvml()
    assert read_graphics(nvml).cuda_order is None
    nvml.predictions["nvmlDeviceGetCount"] = 2
    assert read_graphics(nvml).cuda_order == ("GPU-2", "GPU-1")
    assert asked == [1]


def test_a_driver_that_does_not_answer():
    graphics = read_graphics(FakeNvml(refuses=True))
    assert (graphics.silence, graphics.gpus, graphics.driver) == ("Driver Not Loaded", (), None)


# folders made like /proc and /sys


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_limits_of_cgroup_v2_are_the_narrowest_of_all_groups_above(tmp_path):
    lay(tmp_path / "proc", {"self/cgroup": "0::/pod/box\n"})
    limits = {
        "pod/cpu.max": "150000 100000\n",
        "pod/box/cpu.max": "max 100000\n",
        "pod/memory.max": "max\n",
        "pod/box/memory.max": f"{4 * GIB}\n",
    }
    assert read_limits(tmp_path / "proc", lay(tmp_path / "cgroup", limits)) == (1.5, 4 * GIB)


def test_limits_of_cgroup_v1(tmp_path):
    lay(tmp_path / "proc", {"self/cgroup": "9:name=systemd:/\n4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n"})
    limits = {
        "cpu,cpuacct/cpu.cfs_quota_us": "200000\n",  # inside the container its group is mounted at the top
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "memory/memory.limit_in_bytes": f"{6 * GIB}\n",
        "memory/docker/memory.limit_in_bytes": "9223372036854771712\n",
    }
    assert read_limits(tmp_path / "proc", lay(tmp_path / "cgroup", limits)) == (2.0, 6 * GIB)


@pytest.mark.parametrize("text", ["", "0::/\n", "nonsense\n", "1:cpu:/\n"])
def test_no_limits(tmp_path, text):
    lay(tmp_path / "proc", {"self/cgroup": text})
    lay(tmp_path / "cgroup", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"})
    assert read_limits(tmp_path / "proc", tmp_path / "cgroup") == (None, None)


def test_wsl_by_its_kernel():
    assert tells_wsl("Linux version 5.15.167.4-microsoft-standard-WSL2 (root@f9c826d3017f)")
    assert not tells_wsl("Linux version 6.8.0-45-generic (buildd@lcy02)")
    assert not tells_wsl(None)


def test_a_card_on_the_bus(tmp_path):
    devices = tmp_path / "bus" / "pci" / "devices"
    assert finds_nvidia(tmp_path) is None
    lay(devices, {"0000:00:02.0/vendor": "0x8086\n", "0000:00:02.0/class": "0x030000\n"})
    lay(devices, {"0000:01:00.1/vendor": "0x10de\n", "0000:01:00.1/class": "0x040300\n"})  # a card's sound device
    assert finds_nvidia(tmp_path) is False
    lay(devices, {"0000:01:00.0/vendor": "0x10de\n", "0000:01:00.0/class": "0x030000\n"})
    assert finds_nvidia(tmp_path) is True


class Tree:
    """A folder with data, and a /proc and a /sys that say what it lies on."""

    def __init__(self, root: Path) -> None:
        self.data, self.proc, self.sys = root / "my data", root / "proc", root / "sys"
        self.data.mkdir()
        lay(self.proc, {"version": "Linux version 6.8.0"})

    def mount(self, number: str, kind: str, source: str) -> None:
        point = str(self.data).replace(" ", "\\040")
        text = f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 {number} / {point} rw shared:1 - {kind} {source} rw\n"
        lay(self.proc, {"self/mountinfo": text})

    def block(self, number: str, name: str, files: dict[str, str], partition: str = "") -> None:
        device = lay(self.sys / "devices" / name, files)
        if partition:
            device = lay(device / partition, {"partition": "1\n"})
        link = self.sys / "dev" / "block" / number
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(device)

    def read(self):
        return read_disk(self.data / "later", proc_root=self.proc, sys_root=self.sys)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.mark.parametrize(
    ("name", "files", "kind"),
    [
        ("nvme0n1", {"queue/rotational": "0\n"}, "NVMe"),
        ("sda", {"queue/rotational": "0\n", "device/vendor": "ATA     \n"}, "SSD"),
        ("sda", {"queue/rotational": "1\n", "device/vendor": "ATA     \n"}, "hard disk"),
        ("sdb", {"queue/rotational": "1\n", "device/vendor": "Msft    \n"}, "virtual disk"),
        ("vda", {"queue/rotational": "1\n"}, "virtual disk"),
        ("sdc", {}, None),
    ],
)
def test_kinds_of_disks(tree, name, files, kind):
    tree.mount("8:17", "ext4", f"/dev/{name}1")
    tree.block("8:17", name, {**files, "size": "1\n"}, partition=f"{name}1")
    disk = tree.read()
    assert (disk.device, disk.kind, disk.file_system) == (name, kind, "ext4")
    assert (disk.total_bytes or 0) > (disk.free_bytes or 0) > 0


def test_an_encrypted_volume_is_as_fast_as_the_disk_below(tree):
    tree.mount("253:0", "ext4", "/dev/mapper/home")
    tree.block("259:0", "nvme1n1", {"queue/rotational": "0\n"}, partition="nvme1n1p2")
    tree.block("253:0", "dm-0", {"queue/rotational": "0\n"})
    slaves = tree.sys / "devices" / "dm-0" / "slaves"
    slaves.mkdir()
    (slaves / "nvme1n1p2").symlink_to(tree.sys / "devices" / "nvme1n1" / "nvme1n1p2")
    assert (tree.read().device, tree.read().kind) == ("nvme1n1", "NVMe")


@pytest.mark.parametrize(
    ("file_system", "kernel", "kind"),
    [
        ("nfs4", "Linux version 6.8.0", "network drive"),
        ("tmpfs", "Linux version 6.8.0", "memory"),
        ("9p", "Linux version 5.15-microsoft-standard-WSL2", "Windows drive"),
        ("9p", "Linux version 6.8.0", "network drive"),
        ("overlay", "Linux version 6.8.0", None),
    ],
)
def test_kinds_without_a_disk(tree, file_system, kernel, kind):
    lay(tree.proc, {"version": kernel})
    tree.mount("0:99", file_system, "somewhere")
    assert (tree.read().kind, tree.read().device) == (kind, None)


def test_without_proc_only_space_is_known(tmp_path):
    disk = read_disk(tmp_path, proc_root=tmp_path / "none", sys_root=tmp_path / "none")
    assert disk.kind is None
    assert (disk.free_bytes or 0) > 0


# this machine


def test_this_machine(tmp_path):
    found = diagnose("quick", tmp_path)
    assert found.machine.host.memory_bytes == psutil.virtual_memory().total
    assert found.machine.disk.folder == str(tmp_path)
    assert found.outlook.startswith(("Runs use ", "Until "))
    assert {"DOC001", "DOC003", "DOC017", "DOC018", "DOC024"} <= {advice.code for advice in found.advice}


def test_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128")
    monkeypatch.setenv("PYTORCH_NO_CUDA_MEMORY_CACHING", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    software = read_software("quick")
    assert (software.allocator_settings, software.caching_off, software.visible_devices) == (
        "max_split_size_mb:128",
        True,
        "",
    )
    assert read_host().omp_threads == "3"


def test_torch_in_full():
    torch = read_torch("full")
    assert torch is not None
    assert torch.threads is not None
    assert torch.tf32_products is False
    assert torch.tf32_convolutions is True
    if torch.cuda:
        assert torch.architectures  # torch 2.11 itself lists them only where there is a GPU
        assert torch.cuda_major == int(torch.cuda.split(".")[0])


_PROBE = """
import json, sys
from eightgig.doctor import diagnose
quick = diagnose("quick")
light = [name for name in ("torch", "torchvision", "onnx", "onnxruntime") if name in sys.modules]
full = diagnose("full")
import torch
both = (one.machine.software.torch for one in (quick, full))
read = [[one.version, one.cuda, one.architectures] for one in both]
print(json.dumps([light, torch.cuda.is_initialized(), *read]))
"""


def test_quick_loads_nothing_heavy_and_full_makes_no_cuda_context():
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    heavy, initialised, quick, full = json.loads(done.stdout)
    assert heavy == []
    assert initialised is False
    assert quick == full


@pytest.mark.gpu
def test_a_real_card_is_read_as_torch_sees_it(tmp_path):
    import torch

    gpu = diagnose("quick", tmp_path).machine.gpu
    assert gpu is not None
    assert (gpu.name, gpu.capability) == (torch.cuda.get_device_name(), torch.cuda.get_device_capability())
    assert gpu.uuid == f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    assert 0 < (gpu.free_bytes or 0) <= (gpu.total_bytes or 0)
    assert (gpu.total_bytes or 0) >= torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    assert gpu.processes is not None
    started = time.perf_counter()
    diagnose("quick", tmp_path)
    assert time.perf_counter() - started < 0.3  # each run begins with it
