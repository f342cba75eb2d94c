"""Torch's CUDA caching allocator, simulated; and snapshots of the real one to hold it against."""
