"""Samples of the store as the network wants them: what exported files are measured on; and how they are loaded."""

from collections.abc import Iterator
from typing import Any

from eightgig.core.device import loader_processes
from eightgig.datasets.weights import Weights
from eightgig.models.cards import WeightsCard
from eightgig.stages.annotations import ImageStore
from eightgig.stages.task import Task

Feeds = dict[str, Any]
# Starting a process takes as long as some batches do, on Windows as long as many.
_BATCHES_A_PROCESS = 8


def network_inputs(
    task: Task, weights: Weights, store: ImageStore, indices: list[int], *, num_images: int, batch_size: int
) -> Iterator[Feeds]:
    """Yield inputs by name of samples spread evenly over `indices`, `num_images` at most."""
    options = {"num_images": num_images, "batch_size": batch_size}
    return (feeds for feeds, _ in labelled_inputs(task, weights, store, indices, **options))


def labelled_inputs(
    task: Task, weights: Weights, store: ImageStore, indices: list[int], *, num_images: int, batch_size: int
) -> Iterator[tuple[Feeds, list[Any]]]:
    """Yield the same with what is right for each, as the case's task wants it.

    Spread, because a store is sorted by class: its first images are all of one.
    """
    task.check_store(weights.card, store)
    step = len(indices) / min(num_images, len(indices))
    chosen = [indices[int(position * step)] for position in range(min(num_images, len(indices)))]
    workers = workers_for(len(chosen), batch_size)
    for batch in task.eval_batches(store, chosen, size=weights.card.size, batch_size=batch_size, num_workers=workers):
        yield feeds_of(task.inputs(weights.card, batch)), task.targets(batch)


def sample_input(task: Task, card: WeightsCard, store: ImageStore, index: int) -> Feeds:
    """Return one stored sample as the network wants it, from what a user would bring."""
    return feeds_of(task.sample_input(card, store, index))


def feeds_of(inputs: dict[str, Any]) -> Feeds:
    """Return tensors by name as a runner takes them."""
    return {name: tensor.numpy() for name, tensor in inputs.items()}


def for_evaluation(num_workers: int) -> dict[str, Any]:
    """Return how batches without augmentation are loaded, as the loaders take it.

    The processes end with each pass: those of training wait beside them meanwhile, and hold what they have read ahead.

    Args:
        num_workers: processes that load; 0 loads in this one.
    """
    import torch

    return {"num_workers": num_workers, "pin_memory": torch.cuda.is_available(), "persistent_workers": False}


def workers_for(num_samples: int, batch_size: int) -> int:
    """Return how many processes should load so many samples once: as many as training takes, none for a few batches."""
    return min(loader_processes("auto"), -(-num_samples // batch_size) // _BATCHES_A_PROCESS)
