"""Which networks `eightgig fit` answers for: all causal language models of transformers, and 40 networks for images.

Each language model is built from its default configuration, with as many layers as make about a billion parameters.
What is answered, and what is refused with which line, is kept in `results/fit_coverage.jsonl`: a run goes on where the
last one stopped. `--page` writes the table of docs/fit_coverage.md of all that is kept.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eightgig.core.errors import EightgigError
from eightgig.fitting.ask import answer_with
from eightgig.fitting.asked_cards import asked_cards
from eightgig.fitting.layers import StackPredictor
from eightgig.fitting.question import Question

_HERE = Path(__file__).parent
_KEPT = _HERE / "results" / "fit_coverage.jsonl"
_PAGE = _HERE.parent / "docs" / "fit_coverage.md"
_WANTED = 10**9
_FEWEST_LAYERS = 2
_TOKENS = 512
_CARD = "H200"  # so that what is answered is not whether it fits, but whether it can be said
_IMAGES = {
    "torchvision": (
        *("resnet50", "resnet18", "resnext50_32x4d", "wide_resnet50_2", "vgg16", "alexnet", "squeezenet1_0"),
        *("densenet121", "inception_v3", "googlenet", "mobilenet_v2", "mobilenet_v3_large", "shufflenet_v2_x1_0"),
        *(
            "mnasnet1_0",
            "efficientnet_b0",
            "efficientnet_v2_s",
            "regnet_y_400mf",
            "convnext_tiny",
            "vit_b_16",
            "swin_t",
        ),
    ),
    "timm": (
        *("resnet50", "resnet50d", "seresnet50", "efficientnet_b0", "tf_efficientnetv2_s", "convnext_tiny"),
        *("convnextv2_tiny", "vit_base_patch16_224", "deit_small_patch16_224", "beit_base_patch16_224"),
        *(
            "swin_tiny_patch4_window7_224",
            "maxvit_tiny_tf_224",
            "coatnet_0_rw_224",
            "regnety_032",
            "mobilenetv3_large_100",
        ),
        *("mixer_b16_224", "eva02_tiny_patch14_224", "xcit_small_12_p16_224", "mobilevit_s", "nfnet_l0"),
    ),
}


def main() -> None:
    """Ask about all that has no answer yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    if options.page:
        _PAGE.write_text(page_of(kept()), encoding="utf-8")
        return
    end = time.monotonic() + 60 * options.minutes
    done = {row["network"] for row in kept()}
    with TemporaryDirectory() as folder, StackPredictor() as predictor:
        for name, what in networks(Path(folder), done):
            if time.monotonic() > end:
                return
            row = asked(predictor, name, what)
            print(f"{name}: {row.get('refused') or row['seconds']}", flush=True)
            with _KEPT.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def kept() -> list[dict[str, Any]]:
    """Return what was asked before."""
    lines = _KEPT.read_text(encoding="utf-8").splitlines() if _KEPT.exists() else []
    return [json.loads(line) for line in lines]


def networks(folder: Path, done: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each network by its name, and by what it is asked for as."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        if kind not in done:
            yield kind, str(_scaled(kind, folder / kind))
    for library, names in _IMAGES.items():
        yield from ((f"{library}:{name}", f"{library}:{name}") for name in names if f"{library}:{name}" not in done)


def asked(predictor: StackPredictor, name: str, what: str) -> dict[str, Any]:
    """Return a row: how long the answer took, or with which line it was refused."""
    begun = time.monotonic()
    question = Question(tokens=_TOKENS) if ":" not in what else Question(batch=8)
    try:
        answer = answer_with(predictor, what, question, asked_cards(_CARD, question))
    except EightgigError as error:
        return {"network": name, "refused": " ".join(str(error).split()), "seconds": round(time.monotonic() - begun, 1)}
    (row,) = answer.rows
    return {
        "network": name,
        "parameters": answer.num_parameters,
        "needs_gib": row.upper_gib,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _scaled(kind: str, folder: Path) -> Path:
    """Return a folder with the default configuration of a kind, of about a billion parameters."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    folder.mkdir(parents=True)
    path = folder / "config.json"
    try:
        config = CONFIG_MAPPING[kind]()
        text = config.get_text_config()
        text.num_hidden_layers = _layers(config, text)
        path.write_text(json.dumps(config.to_dict(), default=str), encoding="utf-8")
    except Exception as error:  # noqa: BLE001  its default configuration cannot be built: the question says why
        path.write_text(json.dumps({"model_type": kind, "default_fails": str(error)}), encoding="utf-8")
    return folder


def _layers(config: Any, text: Any) -> int:
    import torch
    from transformers import AutoModelForCausalLM

    def numel() -> int:
        with torch.device("meta"):
            return sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())

    whole, layers = numel(), int(text.num_hidden_layers)
    if whole <= _WANTED or any(isinstance(v, list) and len(v) == layers for v in vars(text).values()):
        return layers
    return max(_FEWEST_LAYERS, layers * _WANTED // whole)


def page_of(rows: list[dict[str, Any]]) -> str:
    """Return the page of all that was asked."""
    refused = [row for row in rows if "refused" in row]
    lines = [f"| {row['network']} | {row['refused'].replace('|', ' ')} |" for row in refused]
    answered = ", ".join(row["network"] for row in rows if "refused" not in row)
    return "\n".join(
        [
            "# Networks that `eightgig fit` answers for",
            "",
            f"Asked: {len(rows)}. Answered: {len(rows) - len(refused)}. Made by `benchmarks/fit_coverage.py`, which",
            "goes on where it stopped: what is not named here was not asked yet.",
            "",
            "| refused | with the line |",
            "|---|---|",
            *lines,
            "",
            f"Answered: {answered}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
