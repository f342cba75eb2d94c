"""The names that folders and files of ready-made splits have: one list for images, masks, boxes and texts."""

import re
from typing import Literal

from eightgig.core.names import name_key

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""What the project calls them, in the order in which an image that is in several goes to the first."""
_WORDS: dict[str, Split] = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val", "devel": "val",
    "development": "val", "eval": "val", "evaluation": "val",
    "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip
# Beside a split's word these say nothing of their own: train_set, Training Data, test-images.
_COMPANIONS = frozenset({"set", "split", "data", "dataset", "images", "pictures", "texts"})
_LETTERS = re.compile(r"[^\W\d_]+")
_GLUED = ("set", "data")  # testset, traindata


def split_of(name: str) -> Split | None:
    """Return the split that a whole name stands for (`Validation`, `train2017`, `test_set`), or None for another name.

    Case, Unicode's normal form, digits and separators do not matter; an ending does: pass a file's stem.
    """
    words = [word for word in _LETTERS.findall(name_key(name)) if word not in _COMPANIONS]
    return _split_of_word(words[0]) if len(words) == 1 else None


def split_within(name: str) -> Split | None:
    """Return the split that a name holds among other words (`instances_train2017.json`), None for none or two."""
    found = {split for word in _LETTERS.findall(name_key(name)) if (split := _split_of_word(word))}
    return found.pop() if len(found) == 1 else None


def split_above(path: str) -> Split | None:
    """Return the split of the nearest folder above `path` (forward slashes) that stands for one, or None."""
    return next((split for part in reversed(path.split("/")[:-1]) if (split := split_of(part))), None)


def _split_of_word(word: str) -> Split | None:
    stems = (word, *(word.removesuffix(end) for end in _GLUED if word.endswith(end)))
    return next((_WORDS[stem] for stem in stems if stem in _WORDS), None)
