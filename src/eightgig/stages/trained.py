"""From a trained network to its weights' card, and back."""

from typing import Any

from eightgig import __version__
from eightgig.core.errors import WeightsError
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageStore, Network, Table, TrainingResult
from eightgig.stages.task import Task


def indices_of(splits: Table, split: str) -> list[int]:
    """Return the store's indices of one split."""
    return [int(index) for index in splits.loc[splits["split"] == split, "index"]]


def card_of(
    task: Task,
    network: Network,
    store: ImageStore,
    *,
    size: int,
    result: TrainingResult,
    score_name: str,
    device_name: str,
) -> Any:
    """Return the card of a network that was just trained."""
    import torch

    common = {
        "model": f"{network.library}/{network.name}",
        "started_from": network.weights_source,
        "classes": store.classes,
        "best_epoch": result.best_epoch,
        "val_score": result.best_score,
        "score_name": score_name,
        "num_parameters": sum(weight.numel() for weight in network.module.parameters()),
        "eightgig_version": __version__,
        "torch_version": torch.__version__,
        "trained_on": device_name,
    }
    return task.card(network, store, size=size, common=common)


def restore(task: Task, weights: Weights) -> Network:
    """Return the trained network, in evaluation mode on the CPU.

    Raises:
        WeightsError: the weights do not fit the network that their card names.
    """
    from eightgig.models.reshape import fit_to_state

    card = weights.card
    network = task.build_network(task.config_from_card(card), len(card.classes))
    if card.compression:
        fit_to_state(network.module, weights.state)
    try:
        network.module.load_state_dict(weights.state)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights do not fit {card.model} of the installed libraries: {error}. Train again with these versions."
        ) from error
    network.module.eval()
    return network
