"""`eightgig fit` and `eightgig cards`: their options, and how their answers are shown."""

import argparse
import sys
from pathlib import Path
from typing import Any

FIT_HELP = "say whether a network fits a card, how, and what would make it fit; no GPU is touched"
FIT_STATUS = """
examples:
  eightgig fit torchvision:resnet50 --batch 64                     the RTX 3070, all weights trained
  eightgig fit Qwen/Qwen2.5-1.5B --task qlora --tokens 2048 --card "RTX 4060" --card "RTX 3060 12 GB"
  eightgig fit ./my_model --task infer --weights Q4_K_M --card all-8gb
  eightgig fit mymodel:make --batch 32 --explain                   your own: module, loss and batches from a function
  eightgig fit timm:convnext_tiny --card found --display 0.8       this machine's card, beside a desktop

Ends with 0 where it fits, barely or well, every card that was asked for; with 1 where it does not fit one of them; with
2 where nothing can be said or something was asked wrongly.
"""
CARDS_HELP = "list the cards that can be asked for"
CARDS_STATUS = "Ends with 0."


def fit_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `eightgig fit`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="an id at Hugging Face, a folder with config.json, torchvision:NAME, timm:NAME, a case study's name, or "
        "package.module:function",
    )
    parser.add_argument(
        "--card", action="append", metavar="CARD", help="may be given several times; all-8gb; found (default: RTX 3070)"
    )
    parser.add_argument("--task", choices=("train", "lora", "qlora", "infer"), default="train")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="samples an optimizer step, or that are answered at once"
    )
    parser.add_argument("--tokens", type=int, metavar="N", help="of a sample of text (default: 1024, or all it can)")
    parser.add_argument("--image-size", type=int, metavar="PX", help="of a side (default: the network's own)")
    parser.add_argument("--precision", choices=("auto", "fp32", "fp16", "bf16", "bf16-true"), default="auto")
    parser.add_argument("--optimizer", choices=("adamw", "adam", "sgd", "adamw8bit"), default="adamw")
    parser.add_argument("--weights", metavar="KIND", help="of --task infer: fp32, fp16, bf16, int8, nf4, or Q4_K_M ...")
    parser.add_argument("--kv-bits", type=int, metavar="N", help="of --task infer: of each key and value (default: 16)")
    parser.add_argument("--rank", type=int, metavar="N", help="of LoRA (default: 16)")
    parser.add_argument(
        "--loop", choices=("hf", "eightgig"), default="hf", help="hf keeps a step's logits, eightgig none"
    )
    parser.add_argument("--budget", type=float, metavar="GIB", dest="budget_gib", help="of each card, at most")
    parser.add_argument("--display", type=float, metavar="GIB", dest="display_gib", help="that a desktop takes of it")
    parser.add_argument("--explain", action="store_true", help="try the levers out, and say why and how")
    parser.add_argument("--json", action="store_true", help="all of the answer, for programs")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the answer as a page too")


def fit(options: argparse.Namespace) -> int:
    """Answer, show it, and return the exit status."""
    _say(f"eightgig fit {options.what}")
    from pydantic import ValidationError

    from eightgig.core.errors import EightgigError
    from eightgig.fitting.ask import fit as ask

    given = {name: value for name, value in vars(options).items() if name in _ASKED and value is not None}
    try:
        answer = ask(options.what, options.card or "RTX 3070", explain=options.explain, say=_say, **given)
    except EightgigError as error:
        return _refuse(str(error))
    except ValidationError as error:
        return _refuse("; ".join(_wrong(each) for each in error.errors()))
    if options.html:
        from eightgig.fitting.page import page_of

        options.html.write_text(page_of(answer), encoding="utf-8")
        _say(f"wrote {options.html}")
    if options.json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        _show(answer, explain=options.explain)
    return answer.status


_ASKED = {
    *("task", "batch", "tokens", "image_size", "precision", "optimizer", "weights", "kv_bits", "rank", "loop"),
    *("budget_gib", "display_gib"),
}


def cards_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `eightgig cards`."""
    parser.add_argument("--json", action="store_true", help="all figures with their sources, for programs")


def cards(options: argparse.Namespace) -> int:
    """List the catalog."""
    import json

    from eightgig.vram.cards.catalog import cards as catalog

    if options.json:
        sys.stdout.write(json.dumps([card.model_dump() for card in catalog()], indent=2) + "\n")
        return 0
    from rich.table import Table

    from eightgig.core.console import wide_console

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("card", "GiB", "GB/s", "generation", "TFLOPS fp16", "W", "since"):
        table.add_column(name)
    for card in sorted(catalog(), key=lambda card: (card.memory_gib, card.name)):
        figures = (
            card.memory_gib,
            card.bandwidth_gb_per_s,
            card.generation,
            card.fp16_tflops,
            card.tdp_w,
            card.launched,
        )
        table.add_row(card.name, *("-" if each is None else str(each) for each in figures))
    wide_console(highlight=False).print(table)
    return 0


def _show(answer: Any, *, explain: bool) -> None:
    from eightgig.core.console import wide_console
    from eightgig.fitting.table import rendered

    wide_console(highlight=False).print(rendered(answer, explain=explain))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _refuse(message: str) -> int:
    sys.stderr.write(f"{' '.join(message.split())}\n")
    return 2


def _wrong(error: Any) -> str:
    name = "-".join(str(part) for part in error["loc"]).replace("_gib", "").replace("_", "-")
    return f"--{name} {error['input']!r}: {error['msg'].lower()}"
