"""Randomness by name: a seed for each use is computed from what it is for, so none needs to be saved."""

import hashlib


def seed_from(*parts: int | str) -> int:
    """Return the 63-bit seed that belongs to `parts`, the same on every machine and in every process.

    Example: `seed_from(seed, "augment", epoch, index)`. Numbers and strings are told apart: `1` is not `"1"`.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, for libraries that draw from them."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries use the global generator
    torch.manual_seed(seed)


def seed_step(seed: int) -> None:
    """Seed what a forward pass may draw from: dropout and the like. As `seed_everything`, at a tenth of its time.

    `torch.manual_seed` also looks for every accelerator there might be, for 0.1 ms each time.
    """
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries use the global generator
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed)
