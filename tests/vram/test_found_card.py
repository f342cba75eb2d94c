"""The driver is played by an object with NVML's functions: what it answers for real cards is public."""

import sys
from types import SimpleNamespace

import pytest
from tests.cards import FakeCard, install
from tests.present import present

from eightgig.vram.cards.catalog import card_named
from eightgig.vram.cards.found import card_found, catalog_card
from eightgig.vram.tracing.workspace import generation_on

MIB = 1024**2


class FakeNvml:
    """Answers for one card; `fails` names functions that raise."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2

    class NVMLError(Exception):
        pass

    def __init__(self, predictions, fails=()):
        self.predictions, self.fails, self.calls = predictions, fails, []

    def __getattr__(self, name):
        def answer(*arguments):
            self.calls.append(name)
            if name in self.fails:
                raise self.NVMLError(name)
            value = self.predictions.get(name)
            return value[arguments[-1]] if isinstance(value, dict) else value

        return answer


def predictions(name, memory_mib, **more):
    return {
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetName": name,
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=memory_mib * MIB),
        "nvmlDeviceGetCudaComputeCapability": (8, 6),
        "nvmlDeviceGetMaxClockInfo": {1: 2100, 2: 7001},
        "nvmlDeviceGetMemoryBusWidth": 256,
        "nvmlDeviceGetNumGpuCores": 4864,
        "nvmlDeviceGetMaxPcieLinkGeneration": 4,
        "nvmlDeviceGetMaxPcieLinkWidth": 16,
        "nvmlDeviceGetPowerManagementDefaultLimit": 200_000,
        **more,
    }


@pytest.fixture
def driver(monkeypatch):
    def install(*arguments, **options):
        nvml = FakeNvml(*arguments, **options)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        return nvml

    return install


def test_a_card_of_the_catalog_is_known_by_its_name(driver):
    nvml = driver(predictions("NVIDIA GeForce RTX 3070", 8192))
    assert card_found() == card_named("RTX 3070")
    assert nvml.calls[-1] == "nvmlShutdown"


@pytest.mark.parametrize(("memory_mib", "name"), [(10240, "RTX 3080"), (12288, "RTX 3080 12 GB")])
def test_two_cards_of_one_name_differ_in_memory(driver, memory_mib, name):
    driver(predictions(b"NVIDIA GeForce RTX 3080", memory_mib))
    assert present(card_found()).name == name


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("NVIDIA GeForce RTX 3070 Ti", "RTX 3070 Ti"),
        ("NVIDIA GeForce RTX 3070 Laptop GPU", "RTX 3070 Laptop"),
        ("NVIDIA GeForce RTX 2070 SUPER", "RTX 2070 Super"),
    ],
)
def test_a_sibling_is_not_taken_for_the_card(name, card):
    assert present(catalog_card(name, 8.0)).name == card
    assert catalog_card(f"{name} of another kind", 8.0) is None


@pytest.mark.parametrize(
    ("name", "memory_mib", "card"),
    [("NVIDIA H200", 143771, "H200"), ("NVIDIA H100 80GB HBM3", 81559, "H100 80 GB")],
)
def test_servers_cards_by_the_memory_that_the_driver_shows(name, memory_mib, card):
    assert present(catalog_card(name, memory_mib / 1024)).name == card


def test_an_unknown_card_is_built_from_what_the_driver_says(driver):
    driver(predictions("NVIDIA GeForce RTX 9060", 8192))
    card = present(card_found())
    assert (card.name, card.memory_gib, card.num_sms, card.tdp_w) == ("NVIDIA GeForce RTX 9060", 8.0, 38, 200)
    assert card.bandwidth_gb_per_s == pytest.approx(2 * 7001 * 256 / 8 / 1000, abs=0.05)  # 448
    assert card.fp32_tflops == pytest.approx(2 * 4864 * 2100e6 / 1e12, abs=0.05)
    assert card.fp16_tflops == pytest.approx(38 * 512 * 2100e6 / 1e12, abs=0.05)
    assert card.tf32_tflops == pytest.approx(present(card.fp16_tflops) / 2, abs=0.06)
    assert card.launch_price_usd is None
    assert "fp16_tflops" in card.unverified


def test_a_workstation_card_has_the_full_tensor_rate(driver):
    driver(
        predictions(
            "NVIDIA RTX A9000", 49140, nvmlDeviceGetNumGpuCores=10752, nvmlDeviceGetMaxClockInfo={1: 1800, 2: 8001}
        )
    )
    assert present(card_found()).fp16_tflops == pytest.approx(
        154.8, abs=0.1
    )  # as of an RTX A6000: GA102 whitepaper, table 3


def test_a_card_without_tensor_cores_computes_half_precision_as_float32(driver):
    driver(predictions("NVIDIA GeForce GTX 1080", 8192, nvmlDeviceGetCudaComputeCapability=(6, 1)))
    card = present(card_found())
    assert card.fp16_tflops is None
    assert card.peak_flops("fp16", tensor_cores=True) == present(card.fp32_tflops) * 1e12


def test_a_driver_that_does_not_say_the_power(driver):
    driver(predictions("NVIDIA Unknown", 4096), fails=("nvmlDeviceGetPowerManagementDefaultLimit",))
    assert present(card_found()).tdp_w is None


@pytest.mark.parametrize("fails", ["nvmlInit", "nvmlDeviceGetHandleByIndex"])
def test_none_where_there_is_no_card(driver, fails):
    driver(predictions("NVIDIA GeForce RTX 3070", 8192), fails=(fails,))
    assert card_found() is None


def test_none_without_the_binding(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert card_found() is None


# several cards


@pytest.fixture
def two_cards(driver, monkeypatch):
    """NVML counts a GTX 1050 first; `order` is what CUDA says, as the fastest first would be."""

    def install(order, *, known=("GPU-1", "GPU-2"), parts=()):
        told = predictions({"index 0": "NVIDIA GeForce GTX 1050", "card 1": "NVIDIA GeForce RTX 3070"}, 8192)
        told["nvmlDeviceGetName"]["card 2"] = "NVIDIA GeForce GTX 1050"
        told |= {
            "nvmlDeviceGetCount": 2,
            "nvmlDeviceGetHandleByIndex": {0: "index 0"},
            "nvmlDeviceIsMigDeviceHandle": {"card 1": 0, "card 2": 0, "part": 1},
            "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": {"part": "card 1"},
        }
        nvml = driver(told)

        def by_uuid(uuid):
            handles = {"GPU-1": "card 1", "GPU-2": "card 2", **dict.fromkeys(parts, "part")}
            if uuid in parts or (uuid in known and uuid in handles):
                return handles[uuid]
            raise nvml.NVMLError("Not Found")

        nvml.nvmlDeviceGetHandleByUUID = by_uuid
        monkeypatch.setattr("eightgig.vram.cards.nvml.cuda_order", lambda: order)

    return install


@pytest.mark.parametrize(
    ("order", "name"),
    [
        (("GPU-1", "GPU-2"), "RTX 3070"),
        (("GPU-2", "GPU-1"), "NVIDIA GeForce GTX 1050"),
        (("GPU-3",), "NVIDIA GeForce GTX 1050"),  # NVML knows no such card: its own first, as ever
        ((), "NVIDIA GeForce GTX 1050"),
        (None, "NVIDIA GeForce GTX 1050"),
    ],
)
def test_the_card_is_the_one_that_cuda_counts_first(two_cards, order, name):
    two_cards(order)
    assert present(card_found()).name == name


def test_a_part_of_a_card_has_the_rates_of_the_whole(two_cards):
    two_cards(("GPU-part",), parts=("MIG-part",))
    assert present(card_found()).name == "RTX 3070"


@pytest.mark.parametrize(("current", "name"), [(0, "NVIDIA GeForce GTX 1050"), (1, "RTX 3070")])
def test_a_process_of_several_finds_its_own_card(two_cards, monkeypatch, current, name):
    two_cards(None)
    install(monkeypatch, [FakeCard(uuid="2"), FakeCard(uuid="1")], current=current)
    assert present(card_found()).name == name


@pytest.mark.gpu
def test_the_card_that_is_found_is_the_one_that_torch_uses():
    import torch

    for index in range(torch.cuda.device_count()):
        with torch.cuda.device(index):
            found, name = card_found(), torch.cuda.get_device_name()
            assert found is not None
            assert name == found.name or name in found.nvml_names


@pytest.mark.parametrize(
    ("name", "capability", "architecture", "generation"),
    [
        ("Tesla T4", (7, 5), "Turing", "turing"),
        ("Tesla V100-SXM2-16GB", (7, 0), "Volta", "ampere"),
        ("NVIDIA GeForce RTX 3060 Ti", (8, 6), "Ampere", "ampere"),
        ("NVIDIA GeForce RTX 4060", (8, 9), "Ada", "ada"),
        ("NVIDIA GeForce RTX 5060", (12, 0), "Blackwell", "blackwell"),
    ],
)
def test_a_card_outside_of_the_catalog_is_of_its_own_generation(driver, name, capability, architecture, generation):
    driver(predictions(name, 8192, nvmlDeviceGetCudaComputeCapability=capability))
    card = present(card_found())
    assert card.generation == architecture
    assert generation_on("cuda", card.generation) == generation
