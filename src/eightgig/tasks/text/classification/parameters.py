"""What may be asked of the sentiment classifier beside what all case studies share; imports nothing heavy."""

from pydantic import Field

from eightgig.core.records import Record, Text
from eightgig.training.parameters import TrainParameters


class SentimentTrainParameters(TrainParameters):
    """The recipe of a classifier of texts; the defaults are the article's, for BERT-base on an RTX 3070.

    Attributes:
        label_smoothing: share of each label that is spread over all classes.
        buckets: whether a batch holds texts of about one length, so that little is padded.
        pad_to_longest: whether every text is padded to `model.max_tokens`, as the article does; slower, same result.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    buckets: bool = True
    pad_to_longest: bool = False


class TextPredictParameters(Record):
    """Which texts to work on.

    Attributes:
        text: one text.
        source: a file, or a folder of files: the text of each (nested ones too). With neither, a few held-out texts of
            the store.
        num_samples: how many held-out texts.
        batch_size: texts at a time.
    """

    text: Text | None = None
    source: str | None = None
    num_samples: int = Field(default=12, ge=1)
    batch_size: int = Field(default=16, ge=1)
