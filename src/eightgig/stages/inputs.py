"""Pictures of the store as the network wants them: what exported files are calibrated, compared and measured on."""

from collections.abc import Iterator
from typing import Any

from eightgig.datasets.weights import Weights, WeightsCard
from eightgig.stages.annotations import ImageStore
from eightgig.stages.case import Case

Feeds = dict[str, Any]


def network_inputs(
    case: Case, weights: Weights, store: ImageStore, indices: list[int], *, num_images: int, batch_size: int
) -> Iterator[Feeds]:
    """Yield inputs by name (normalised float32 N3HW) of pictures spread evenly over `indices`, `num_images` at most."""
    options = {"num_images": num_images, "batch_size": batch_size}
    return (feeds for feeds, _ in labelled_inputs(case, weights, store, indices, **options))


def labelled_inputs(
    case: Case, weights: Weights, store: ImageStore, indices: list[int], *, num_images: int, batch_size: int
) -> Iterator[tuple[Feeds, list[Any]]]:
    """Yield the same with what is right for each, as the case's task wants it.

    Spread, because a store is sorted by class: its first pictures are all of one.
    """
    step = len(indices) / min(num_images, len(indices))
    chosen = [indices[int(position * step)] for position in range(min(num_images, len(indices)))]
    for batch in case.eval_batches(store, chosen, image_size=weights.card.image_size, batch_size=batch_size):
        yield {"images": case.inputs(weights.card, batch).numpy()}, case.truths(batch)


def one_input(case: Case, card: WeightsCard, store: ImageStore, index: int) -> Feeds:
    """Give one stored picture as the network wants it: decoded, cropped, normalised."""
    picture = case.eval_picture(store.decode(index), image_size=card.image_size)
    return {"images": case.inputs(card, {"images": picture[None]}).numpy()}
