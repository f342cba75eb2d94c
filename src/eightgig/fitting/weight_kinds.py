"""What weights may be held in when a network answers, by bits a weight, each with its source.

GGUF: `tools/quantize/README.md` of ggml-org/llama.cpp at 311c2c9, measured on Llama-3.1-8B with embeddings and norms in
the file: what a kind mixes differs a little by network. `Q4_0` and the other kinds of one block size are their block's
bytes: 18 B for 32 weights and so on (`ggml-common.h`, block_q4_0 to block_q5_1).

NF4, doubly quantized, is 4 bits, 8 for the scale of 64 weights and 32 for that of 256 scales (Dettmers et al., QLoRA,
section 3); int8 has a float32 for each row (`Int8Params` of bitsandbytes), which is left out. Those two are of linear
layers: the rest stays in 16 bits, as `load_in_4bit` and `load_in_8bit` of transformers leave it.
"""

from difflib import get_close_matches
from typing import NamedTuple

from eightgig.core.errors import ConfigurationError


class WeightKind(NamedTuple):
    """Bits a weight; `rest_bits` are those of embeddings, head and norms, None where they count as all others."""

    bits: float
    rest_bits: float | None = None


KINDS: dict[str, WeightKind] = {
    "fp32": WeightKind(32),
    "fp16": WeightKind(16),
    "bf16": WeightKind(16),
    "int8": WeightKind(8, 16),
    "nf4": WeightKind(4 + 8 / 64 + 32 / (64 * 256), 16),
    "Q2_K_S": WeightKind(2.9697),
    "Q2_K": WeightKind(3.1593),
    "Q3_K_S": WeightKind(3.6429),
    "Q3_K_L": WeightKind(4.2979),
    "Q4_0": WeightKind(18 * 8 / 32),
    "Q4_1": WeightKind(20 * 8 / 32),
    "Q4_K_S": WeightKind(4.6672),
    "Q4_K_M": WeightKind(4.8944),
    "Q5_0": WeightKind(22 * 8 / 32),
    "Q5_1": WeightKind(24 * 8 / 32),
    "Q5_K_S": WeightKind(5.5704),
    "Q5_K_M": WeightKind(5.7036),
    "Q6_K": WeightKind(6.5633),
    "Q8_0": WeightKind(8.5008),
    "F16": WeightKind(16.0005),
    "IQ2_XXS": WeightKind(2.3824),
    "IQ2_XS": WeightKind(2.5882),
    "IQ2_S": WeightKind(2.7403),
    "IQ2_M": WeightKind(2.9294),
    "IQ3_XXS": WeightKind(3.2548),
    "IQ3_XS": WeightKind(3.4977),
    "IQ3_S": WeightKind(3.6606),
    "IQ3_M": WeightKind(3.7628),
    "IQ4_XS": WeightKind(4.4597),
    "IQ4_NL": WeightKind(4.6818),
}


def weight_kind(name: str) -> tuple[str, WeightKind]:
    """Return a kind of weights by its name, of which case plays no part, as it is written.

    Raises:
        ConfigurationError: there is none.
    """
    by_name = {known.lower(): known for known in KINDS}
    found = by_name.get(name.lower())
    if found is None:
        near = [by_name[each] for each in get_close_matches(name.lower(), by_name, n=3)]
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise ConfigurationError(f"there is no kind of weights {name!r}: {meant}There are {', '.join(KINDS)}.")
    return found, KINDS[found]
