"""How batches are loaded: by how many processes, and whether into memory that a GPU can copy from without waiting."""

from typing import Any

from eightgig.core.device import loader_processes

# Starting a process takes as long as some batches do, on Windows as long as many.
_BATCHES_A_PROCESS = 8


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
