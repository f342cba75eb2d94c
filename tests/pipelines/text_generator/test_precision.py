"""Half precision where a card has it: what is written in it, what is planned for it, and what is told."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from eightgig.core.errors import ConfigurationError
from eightgig.data.store.tokenizers import train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore
from eightgig.datasets.weights import Weights
from eightgig.tasks.text.generation import generate as stage
from eightgig.tasks.text.generation import plan as plan_stage
from eightgig.tasks.text.generation.loop import next_tokens
from eightgig.tasks.text.generation.parameters import GenerateParameters, GeneratorModelParameters
from eightgig.tasks.text.generation.precision import dtype_of, precision_of, writing_precision
from eightgig.tasks.text.generation.records import WrittenTexts
from eightgig.tasks.text.generation.task import TextGenerator
from eightgig.training.parameters import TrainParameters
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.workspace import load_calibration

pytestmark = pytest.mark.whole

TOKENIZER = train_bpe(["O Romeo, Romeo! wherefore art thou Romeo?"] * 4, vocab_size=300)
MODEL = GeneratorModelParameters(
    name="gpt2",
    weights="none",
    max_tokens=32,
    config={"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 300},
)


def card_with(monkeypatch, *, bf16):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)


@pytest.mark.parametrize(
    ("choice", "device", "bf16", "wanted"),
    [
        ("auto", "cuda", True, "bf16"),
        ("auto", "cuda", False, "fp16"),
        ("auto", "cpu", True, "fp32"),
        ("fp32", "cuda", True, "fp32"),
        ("fp16", "cuda", True, "fp16"),
        ("bf16", "cpu", False, "bf16"),
    ],
)
def test_the_precision_is_the_cards(monkeypatch, choice, device, bf16, wanted):
    card_with(monkeypatch, bf16=bf16)
    assert writing_precision(choice, device) == wanted
    assert precision_of(dtype_of(wanted)) == wanted


def test_emulated_bf16_is_refused(monkeypatch):
    card_with(monkeypatch, bf16=False)
    with pytest.raises(ConfigurationError, match=r"generate.precision: bf16 was asked for, but this GPU has none"):
        writing_precision("bf16", "cuda")


@pytest.fixture
def trained(tmp_path):
    torch.manual_seed(0)
    case = TextGenerator()
    random = np.random.default_rng(0)
    TokenContent(
        tokens=[random.integers(1, 300, 33) for _ in range(6)],
        labels=None,
        texts=None,
        num_bytes=[40] * 6,
        paths=["a.txt"] * 6,
        classes=(),
        tokenizer_json=TOKENIZER,
        vocab_size=300,
        max_tokens=32,
    ).write(tmp_path / "store.h5")
    store = TokenStore(tmp_path / "store.h5")
    network = case.build_network(MODEL, 300)
    known = {
        "model": f"{network.library}/{network.name}",
        "started_from": "nothing",
        "classes": (),
        "best_epoch": 1,
        "val_score": 0.0,
        "num_parameters": 0,
        "eightgig_version": "test",
        "torch_version": "test",
        "trained_on": "test",
    }
    card = case.card(network, store, size=32, common=known)
    return case, Weights(network.module.state_dict(), card), store


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_text_is_written_and_timed_in_the_chosen_precision(trained, precision):
    case, weights, store = trained
    splits = pd.DataFrame({"index": range(6), "split": ["test"] * 6})
    parameters = GenerateParameters(precision=precision, max_new_tokens=6, stream=False)
    made = stage.generate_texts(case, weights, TOKENIZER, store, splits, parameters, PlanParameters())
    assert made.precision == precision
    assert all(1 <= one.num_tokens <= 6 for one in made.texts)  # random weights may end a text
    table = stage.measure_writing(case, weights, parameters, PlanParameters())
    assert set(table["precision"]) == {precision}
    element_bytes = 4 if precision == "fp32" else 2
    assert table["kv_cache_bytes"].max() == 2 * 2 * 32 * (16 + 6 - 1) * element_bytes


def test_auto_on_a_card_gives_the_module_half_of_its_bytes(trained, monkeypatch):
    case, weights, _ = trained
    card_with(monkeypatch, bf16=True)
    monkeypatch.setattr(stage, "resolve_device", lambda _: "cuda")
    module = stage._module(case, weights, GenerateParameters(), PlanParameters())
    assert {weight.dtype for weight in module.parameters()} == {torch.bfloat16}


def test_only_the_row_that_is_drawn_from_becomes_float32(monkeypatch):
    widened = []
    whole = torch.Tensor.float
    monkeypatch.setattr(torch.Tensor, "float", lambda self: widened.append(tuple(self.shape)) or whole(self))
    logits_NV = torch.randn(3, 50).bfloat16()
    next_tokens(logits_NV, GenerateParameters(), torch.Generator().manual_seed(0))
    next_tokens(logits_NV, GenerateParameters(method="greedy"), torch.Generator())
    assert widened == [(3, 50)]


@pytest.mark.parametrize("attribute", ["parameters", "activations"])
def test_the_plan_predicts_the_precision_that_then_runs(attribute):
    """Weights, and keys and values, take half of the bytes in half precision."""
    options = StepOptions(phase="validate", micro_batch=1, precision="fp32")
    with Predictor(load_calibration(None)) as predictor:
        held = {
            precision: predictor.predict(
                TextGenerator(precision).generation_workload(MODEL, 300), options, generation="ampere"
            )
            for precision in ("fp32", "bf16", "fp16")
        }
    whole = held["fp32"].at_peak[attribute]
    for precision in ("bf16", "fp16"):
        assert held[precision].at_peak[attribute] == pytest.approx(whole / 2, rel=0.15)


@pytest.mark.parametrize(("chosen", "wanted"), [("auto", "fp16"), ("fp32", "fp32")])
def test_the_plan_stage_plans_for_what_generate_chooses(monkeypatch, chosen, wanted):
    card_with(monkeypatch, bf16=False)
    monkeypatch.setattr(plan_stage, "resolve_device", lambda _: "cuda")
    monkeypatch.setattr(
        plan_stage, "plan_memory", lambda case, *_: case.generation_workload(MODEL, 300).options["precision"]
    )
    made = plan_stage.plan_with_writing(SimpleNamespace(), MODEL, TrainParameters(), PlanParameters(), chosen)
    assert made == wanted


def test_texts_of_an_earlier_version_were_written_in_fp32():
    assert WrittenTexts.model_validate({"texts": [], "seconds": 1.0, "tokens_per_second": 2.0}).precision == "fp32"


@pytest.mark.gpu
def test_half_precision_writes_on_the_card(trained):
    case, weights, store = trained
    splits = pd.DataFrame({"index": range(6), "split": ["test"] * 6})
    parameters = GenerateParameters(max_new_tokens=6, stream=False)
    made = stage.generate_texts(case, weights, TOKENIZER, store, splits, parameters, PlanParameters())
    assert made.precision in ("bf16", "fp16")
    table = stage.measure_writing(case, weights, parameters, PlanParameters())
    assert set(table["device"].str.partition(":")[0]) == {"cuda"}
