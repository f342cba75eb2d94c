"""In which order CUDA counts the cards, from a driver played by hand."""

import os
import shutil
import subprocess
import sys
import uuid

import pytest

from eightgig.core.cuda_order import cuda_order, read_order

FIRST, SECOND = uuid.UUID(int=0x3070), uuid.UUID(int=0x1050)


class FakeDriver:
    """libcuda with two cards, as ctypes calls it; `fails` names a function that gives an error."""

    def __init__(self, *cards, fails=None, newer=True):
        self.cards, self.fails = cards, fails
        setattr(self, "cuDeviceGetUuid_v2" if newer else "cuDeviceGetUuid", self._uuid)

    def cuInit(self, _):  # noqa: N802 - the driver's name
        return self.fails == "cuInit"

    def cuDeviceGetCount(self, count):  # noqa: N802 - the driver's name
        count._obj.value = len(self.cards)
        return 0

    def cuDeviceGet(self, device, index):  # noqa: N802 - the driver's name
        device._obj.value = index
        return self.fails == "cuDeviceGet"

    def _uuid(self, raw, device):
        raw._obj[:] = list(self.cards[device.value].bytes)
        return self.fails == "uuid"


@pytest.mark.parametrize("newer", [True, False])
def test_cards_come_in_the_drivers_order_as_nvml_writes_them(newer):
    assert read_order(FakeDriver(FIRST, SECOND, newer=newer)) == (f"GPU-{FIRST}", f"GPU-{SECOND}")


@pytest.mark.parametrize("fails", ["cuInit", "cuDeviceGet", "uuid"])
def test_nothing_is_known_where_the_driver_fails(fails):
    assert read_order(FakeDriver(FIRST, fails=fails)) is None


_LIBRARY = """
#include <string.h>
#include <stdlib.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    int by_bus = getenv("CUDA_DEVICE_ORDER") != NULL;
    memset(uuid, 0, 16);
    uuid[15] = (device == 0) ^ by_bus ? 7 : 1;
    return 0;
}
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs a C compiler")
def test_a_library_is_asked_in_another_process_with_this_ones_settings(tmp_path, monkeypatch):
    (tmp_path / "driver.c").write_text(_LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libcuda.so.1", "driver.c"], cwd=tmp_path, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}{os.pathsep}{os.environ.get('LD_LIBRARY_PATH', '')}")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    assert cuda_order() == (f"GPU-{uuid.UUID(int=7)}", f"GPU-{uuid.UUID(int=1)}")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert cuda_order() == (f"GPU-{uuid.UUID(int=1)}", f"GPU-{uuid.UUID(int=7)}")


@pytest.mark.parametrize("python", ["/nowhere/python", ""])
def test_nothing_is_known_where_no_process_can_be_started(monkeypatch, python):
    monkeypatch.setattr("eightgig.core.cuda_order.sys.executable", python)
    assert cuda_order() is None


def test_a_machine_without_a_driver_says_nothing(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # where there is one, no card is shown
    assert cuda_order() is None


@pytest.mark.gpu
def test_the_first_card_is_the_one_that_torch_takes():
    import torch

    order = cuda_order()
    assert order is not None
    uuids = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
    assert [name.partition("-")[2] for name in order] == uuids
