"""What one of several processes needs of its card: computed from what a process alone needs.

DDP keeps all gradients for the whole step, in the buckets that they are exchanged in (`gradient_as_bucket_view`): a
process alone holds as much where it accumulates, and that is what is traced. FSDP2 keeps a share of weights, gradients
and optimizer state, and gathers one block's weights at a time, the next ahead of its use (torch, docs of
`fully_shard`); what that takes is added up here and has not been measured.
"""

from eightgig.vram.tracing.prediction import Prediction

# While a block runs: its weights whole, the next block's, and the buffer that they are gathered in.
_GATHERED_BLOCKS = 3
# While a block's gradients are sent off: whole, and copied into the buffer that they are sent from.
_SENT_BLOCKS = 2


def sharded_over(prediction: Prediction, processes: int, largest_block: int) -> Prediction:
    """Return what one process needs where FSDP2 shards weights, gradients and optimizer state.

    Args:
        prediction: of a process alone.
        processes: among which they are sharded evenly.
        largest_block: bytes of the weights that are gathered at a time.
    """
    held = dict(prediction.at_peak)
    at_peak = {
        **held,
        "parameters": held["parameters"] // processes + _GATHERED_BLOCKS * largest_block,
        "optimizer": held["optimizer"] // processes,
        "gradients": held["gradients"] // processes,
    }
    if prediction.phase == "train":
        at_peak["gradients"] += _SENT_BLOCKS * largest_block
    change = sum(at_peak.values()) - sum(held.values())
    return prediction.model_copy(
        update={
            "at_peak": at_peak,
            "peak_allocated": prediction.peak_allocated + change,
            "peak_reserved": prediction.peak_reserved + change,
            "min_memory_limit": prediction.min_memory_limit + change,
        }
    )
