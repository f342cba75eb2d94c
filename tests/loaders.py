"""What tests ask of loaders."""

from typing import Any

from torch.utils.data import DataLoader

from eightgig.data.images.loader import KeyedSampler


def sampler_of(loader: DataLoader[Any]) -> KeyedSampler:
    """Return the loader's sampler, which is told the epoch."""
    assert isinstance(loader.sampler, KeyedSampler)
    return loader.sampler
