"""The score that INT8 recipes are chosen by, and what it takes to find it."""

import tracemalloc
from types import SimpleNamespace

import numpy as np

from eightgig.stages.export import _score_on
from eightgig.tasks.text.generation.metrics import LanguageEvaluator

TOKENS, VOCABULARY = 64, 2000


def score_of(count):
    """Return the score over so many blocks, and the most memory that it took."""
    tokens = [np.full((1, TOKENS), number) for number in range(count)]

    def run(feeds):
        logits = np.zeros((1, TOKENS, VOCABULARY), np.float32)
        logits[..., int(feeds["input_ids"][0, 0])] = 1
        return {"logits": logits}

    judged = _score_on([({"input_ids": each}, [each[0]]) for each in tokens], LanguageEvaluator())
    tracemalloc.start()
    score = judged(SimpleNamespace(run=run))
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return score, highest


def test_more_samples_take_no_more_memory():
    score_of(1)
    (few, least), (many, most) = score_of(2), score_of(20)
    assert (few, many) == (1.0, 1.0)
    assert most - least < TOKENS * VOCABULARY * 4
