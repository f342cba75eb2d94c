"""Batches for validation: the same with any number of processes, which end with each pass."""

import multiprocessing
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults.small_cases import make_job, make_stores

from eightgig.data.store.reader import ImageStore
from eightgig.data.store.tokenizers import train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore
from eightgig.stages import inputs
from eightgig.stages.inputs import workers_for
from eightgig.tasks.classification.task import ImageClassifier
from eightgig.tasks.detection.task import ObjectDetector
from eightgig.tasks.segmentation.task import SemanticSegmenter
from eightgig.tasks.text.classification.task import SentimentClassifier
from eightgig.tasks.text.generation.task import TextGenerator
from eightgig.training.checkpointing.history import TrainingResult

NUM_SAMPLES = 24
KINDS: dict[str, tuple[Any, Any, int]] = {
    "classifier": (ImageClassifier, ImageStore, 48),
    "detector": (ObjectDetector, ImageStore, 64),
    "segmenter": (SemanticSegmenter, ImageStore, 48),
    "text": (SentimentClassifier, TokenStore, 16),
    "blocks": (TextGenerator, TokenStore, 8),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    make_stores(folder)
    random = np.random.default_rng(1)
    TokenContent(
        tokens=[random.integers(1, 200, 9) for _ in range(NUM_SAMPLES)],
        labels=None,
        texts=None,
        num_bytes=[10] * NUM_SAMPLES,
        paths=["a.txt"] * NUM_SAMPLES,
        classes=(),
        tokenizer_json=train_bpe(["a small text"], vocab_size=260),
        vocab_size=260,
        max_tokens=8,
    ).write(folder / "blocks.h5")
    return folder


def batches_of(kind, stores, indices=(3, 1, 4, 15, 9, 2, 6), batch_size=3, **options):
    case, store, size = KINDS[kind]
    return case().eval_batches(store(stores / f"{kind}.h5"), indices, size=size, batch_size=batch_size, **options)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=2, deadline=None)
@given(
    indices=st.lists(st.integers(0, NUM_SAMPLES - 1), min_size=1, max_size=9, unique=True),
    batch_size=st.integers(1, 4),
    num_workers=st.integers(1, 2),
)
def test_processes_change_nothing(kind, stores, indices, batch_size, num_workers):
    alone = batches_of(kind, stores, indices, batch_size)
    together = batches_of(kind, stores, indices, batch_size, num_workers=num_workers)
    assert together.num_workers == num_workers
    for _ in range(2):  # another epoch starts them again
        for wanted, found in zip(alone, together, strict=True):
            assert wanted.keys() == found.keys()
            assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    seen = [int(index) for batch in alone for index in batch["indices"]]
    assert seen == indices


@pytest.mark.parametrize("kind", KINDS)
def test_its_processes_are_gone_when_a_pass_is_over(kind, stores):
    before = {*multiprocessing.active_children()}
    loader = batches_of(kind, stores, num_workers=2)
    assert len(list(loader)) == 3
    assert {*multiprocessing.active_children()} <= before


@pytest.mark.parametrize("has_gpu", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_pinned_where_a_gpu_copies_from_them(kind, stores, has_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert batches_of(kind, stores).pin_memory is has_gpu


@pytest.mark.parametrize("kind", ["classifier", "text"])
def test_validation_has_as_many_processes_as_training(kind, stores, tmp_path, monkeypatch):
    given_to = []

    def fit(self, train_batches, val_batches, **_):
        given_to.append((train_batches.num_workers, val_batches.num_workers, val_batches.persistent_workers))
        return TrainingResult({}, 0, 0.0, (), measured=(), recovered=(), final={})

    monkeypatch.setattr("eightgig.training.trainer.Trainer.fit", fit)
    job = make_job(kind, stores, tmp_path, num_workers=2)
    job.run(*job.network(), None)
    assert given_to == [(2, 2, False)]


def test_a_few_batches_want_no_process(monkeypatch):
    monkeypatch.setattr(inputs, "loader_processes", lambda _: 4)
    assert [workers_for(number, 8) for number in (1, 56, 64, 128, 10**5)] == [0, 0, 1, 2, 4]
    monkeypatch.setattr(inputs, "loader_processes", lambda _: 0)  # two cores
    assert workers_for(10**5, 8) == 0


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_pinned_batches_come_from_processes_too(kind, stores):
    for batch in batches_of(kind, stores, num_workers=2):
        assert all(values.is_pinned() for values in batch.values())
