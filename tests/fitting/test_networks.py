"""What a network's name may be, and what is said of one that is none: one line, with the way out."""

from typing import Any

import pytest

from eightgig.core.errors import ConfigurationError
from eightgig.fitting import libraries
from eightgig.fitting.asked_cards import asked_cards
from eightgig.fitting.images import read_image_network
from eightgig.fitting.language import network, read_network
from eightgig.fitting.networks import network_of
from eightgig.fitting.question import Question
from eightgig.fitting.weight_kinds import KINDS, weight_kind

NOBODY: Any = None  # is asked: what is wrong is seen before


@pytest.fixture
def refused():
    """Returns what is said of a question that cannot be asked."""

    def said(ask, *arguments, **options):
        with pytest.raises(ConfigurationError) as error:
            ask(*arguments, **options)
        assert "\n" not in str(error.value)
        return str(error.value)

    return said


def test_a_folder_is_read_without_weights(network_folder):
    known = read_network(str(network_folder()))
    made = network(known.config, known.model_type, known.head, task="train", weights="float32", size=8)
    assert (known.head, known.num_layers, known.max_tokens, known.vocab_size) == ("CausalLM", 12, 512, 512)
    assert known.num_parameters == sum(weight.numel() for weight in made.module.parameters())
    assert {weight.device.type for weight in made.module.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("architecture", "kind", "head"),
    [
        ("BertForMaskedLM", "bert", "MaskedLM"),
        ("BertForSequenceClassification", "bert", "SequenceClassification"),
        ("ViTForImageClassification", "vit", "ImageClassification"),
        ("T5ForConditionalGeneration", "t5", "Seq2SeqLM"),
    ],
)
def test_the_stated_head_is_built(network_folder, architecture, kind, head):
    folder = network_folder(model_type=kind, architectures=[architecture], num_hidden_layers=2)
    assert read_network(str(folder)).head == head


def test_code_of_its_own_is_never_run(network_folder, refused):
    folder = network_folder(model_type="mine", auto_map={"AutoConfig": "mine.Config"})
    (folder / "mine.py").write_text("raise SystemExit('run')", encoding="utf-8")
    assert "has code of its own, which eightgig never runs" in refused(read_network, str(folder))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_type": ""}', "\x00"])
def test_a_broken_configuration_is_named(tmp_path, refused, content):
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    assert f"{tmp_path / 'config.json'}" in refused(read_network, str(tmp_path))


def test_an_unknown_kind_is_said(network_folder, refused):
    assert "name an id, or a folder" in refused(read_network, str(network_folder(model_type="no_such_network")))


def test_a_value_of_the_wrong_type_is_said(network_folder, refused):
    refused(read_network, str(network_folder(hidden_size="wide")))


def test_no_network_is_said_with_the_way_out(refused, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "name a folder with its config.json" in refused(read_network, "someone/something-that-is-not-here")


@pytest.mark.parametrize(("library", "near"), [("torchvision", "resnet50"), ("timm", "resnet50")])
def test_a_misspelt_network_is_answered_with_its_nearest(refused, library, near):
    assert near in refused(read_image_network, library, "resnet500")


def test_a_missing_library_is_named_with_its_command(refused, monkeypatch):
    monkeypatch.setattr(libraries, "find_spec", lambda _: None)
    assert refused(read_image_network, "timm", "resnet18").endswith("not installed: pip install timm")


@pytest.mark.parametrize(
    ("what", "asked", "said"),
    [
        ("torchvision:resnet18", {"tokens": 8}, "--image-size in place of --tokens"),
        ("torchvision:resnet18", {"task": "lora"}, "--task lora is for networks of transformers"),
        ("mymodel:make", {"image_size": 8}, "--image-size is not for mymodel:make"),
        ("mymodel:make", {"task": "qlora"}, "--task qlora is for networks of transformers"),
    ],
)
def test_parts_that_contradict_each_other(refused, what, asked, said):
    assert said in refused(network_of, what, Question(**asked), NOBODY)


def test_sizes_that_a_network_does_not_have(network_folder, refused):
    class Here:
        def call(self, _, source):
            return read_network(source)

    folder = str(network_folder())
    assert "positions for 512 tokens" in refused(network_of, folder, Question(tokens=1024), Here())
    assert "--tokens in place of --image-size" in refused(network_of, folder, Question(image_size=8), Here())


def test_a_case_study_is_asked_for_by_its_name(project_path, monkeypatch):
    monkeypatch.chdir(project_path)
    found = network_of("flower_classifier", Question(), NOBODY)
    assert (found.name, found.sample) == ("EfficientNet-B3, 300 px", "300 px")


@pytest.mark.parametrize(
    ("name", "near"),
    [("RTX 307", "RTX 3070"), ("3070", "RTX 3070"), ("RTX4090 Ti", "RTX 4090"), ("rtx 5700", "RTX 5070")],
)
def test_a_misspelt_card_is_answered_with_its_nearest(refused, name, near):
    said = refused(asked_cards, name, Question())
    assert near in said.partition("did you mean ")[2]
    assert said.endswith("`eightgig cards` lists all")


def test_cards_are_taken_once_and_a_desktop_takes_its_share():
    cards = asked_cards(["RTX 3070", "all-8gb", "rtx3070"], Question(display_gib=0.5))
    assert cards[0].name == "RTX 3070"
    assert len({card.name for card in cards}) == len(cards)
    assert {card.usable_gib for card in cards} == {card.card.memory_gib - 0.5 for card in cards}
    (small,) = asked_cards("RTX 4090", Question(budget_gib=6, display_gib=1))
    assert small.usable_gib == 6


def test_a_desktop_that_takes_all_is_refused(refused):
    assert "leaves nothing" in refused(asked_cards, "RTX 3070", Question(display_gib=8))


def test_no_card_here_is_said(refused, monkeypatch):
    monkeypatch.setattr("eightgig.fitting.asked_cards.card_found", lambda: None)
    assert "no card here" in refused(asked_cards, "found", Question())


def test_kinds_of_weights_by_name(refused):
    assert weight_kind("q4_k_m") == ("Q4_K_M", KINDS["Q4_K_M"])
    assert "did you mean nf4?" in refused(weight_kind, "nf5")
