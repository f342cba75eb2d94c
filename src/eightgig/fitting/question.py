"""What is asked: a network, the cards, and how it shall be run."""

from typing import Literal

from pydantic import Field

from eightgig.core.records import Record
from eightgig.vram.plan import OptimizerName

FitTask = Literal["train", "lora", "qlora", "infer"]
Loop = Literal["hf", "eightgig"]
AskedPrecision = Literal["auto", "fp32", "fp16", "bf16", "bf16-true"]
# What is asked of a network where nobody says: as many as tutorials take.
_SAMPLES = {"images": 32, "tokens": 1, "own": 8}
DEFAULT_TOKENS = 1024


class Question(Record):
    """How a network shall be run.

    Attributes:
        task: all weights are trained; small matrices beside frozen ones (LoRA), or beside weights of 4 bits (QLoRA);
            or it answers.
        batch: samples an optimizer step, which no plan changes; None takes as many as is usual.
        tokens: of a sample of text, packed or padded to that; None takes 1,024, or what the network can at most.
        image_size: pixels of a side; None takes the network's own.
        precision: of the computation; `auto` is bf16 for language models and fp16 for others where the card has it.
            `bf16-true` holds the weights in it too. Of answers: what weights are held in.
        weights: what answers hold the weights in, by bits: `fp16`, `int8`, `nf4`, or a kind of GGUF; None follows the
            precision.
        kv_bits: of each key and value; 16 unless a cache is quantized.
        optimizer: whose state counts.
        loop: `hf` keeps the outputs until the next step has made new ones, as a loop with `outputs = model(**batch)`
            does; `eightgig` lets the logits go.
        rank: of LoRA's matrices.
        budget_gib: of the card, at most; None takes all of it.
        display_gib: what a desktop takes of the card.
    """

    task: FitTask = "train"
    batch: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    image_size: int | None = Field(default=None, ge=1)
    precision: AskedPrecision = "auto"
    weights: str | None = None
    kv_bits: int = Field(default=16, ge=2, le=32)
    optimizer: OptimizerName = "adamw"
    loop: Loop = "hf"
    rank: int = Field(default=16, ge=1)
    budget_gib: float | None = Field(default=None, gt=0)
    display_gib: float = Field(default=0.0, ge=0)

    def samples(self, kind: str) -> int:
        """Return the samples an optimizer step, for a network that takes `images`, `tokens`, or what is its `own`."""
        return self.batch or _SAMPLES[kind]
