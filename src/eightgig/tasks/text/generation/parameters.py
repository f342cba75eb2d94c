"""What may be asked of the text generator beside what all case studies share; imports nothing heavy."""

from typing import Literal

from pydantic import Field

from eightgig.core.records import Record, Text
from eightgig.models.parameters import TextModelParameters
from eightgig.tasks.text.parameters import LoraParameters


class GenerateParameters(Record):
    """What to write, and how.

    Attributes:
        prompt: what the text begins with; None begins as a held-out text does.
        num_samples: texts, written side by side.
        max_new_tokens: of each.
        method: `greedy` takes the likeliest token, `sample` draws one.
        temperature: below 1 the likely become likelier.
        top_k: only so many tokens may be drawn; None does not limit them.
        top_p: only the likeliest that together have this probability (nucleus sampling); None or 1 does not limit them.
        seed: of the draws.
        stop: a text ends before the first of these.
        precision: of the weights, and of keys and values; `auto` is half precision on a GPU and fp32 on the CPU.
        cache: whether keys and values of the text so far are kept instead of computed anew for each token.
        stream: whether the first text is shown as it grows.
    """

    prompt: Text | None = None
    num_samples: int = Field(default=3, ge=1)
    max_new_tokens: int = Field(default=100, ge=1)
    method: Literal["sample", "greedy"] = "sample"
    temperature: float = Field(default=0.8, gt=0)
    top_k: int | None = Field(default=50, ge=1)
    top_p: float | None = Field(default=0.95, gt=0, le=1)
    seed: int = 0
    stop: tuple[str, ...] = ()
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    cache: bool = True
    stream: bool = True


class TokenizerParameters(Record):
    """The tokenizer, where the network brings none.

    Attributes:
        vocab_size: tokens of a byte-level BPE that is trained on the training texts.
    """

    vocab_size: int = Field(default=2048, ge=257)


class GeneratorModelParameters(TextModelParameters):
    """Which language model to build, from which weights, for blocks of how many tokens.

    Attributes:
        lora: trains small matrices beside frozen weights, and adds them to the weights in the end; None trains all.
    """

    lora: LoraParameters | None = None
