"""What may be asked of the text generator beside what all case studies share; imports nothing heavy."""

from pydantic import Field

from eightgig.core.records import Record
from eightgig.data.parameters import DataParameters
from eightgig.data.text.parameters import CorpusDataParameters
from eightgig.models.lora_parameters import LoraParameters
from eightgig.models.parameters import ModelParameters, TextModelParameters
from eightgig.stages.case import Records


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


RECORDS: Records = {DataParameters: CorpusDataParameters, ModelParameters: GeneratorModelParameters}
