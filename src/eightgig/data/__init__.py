"""From images on disk to batches: inspection, the HDF5 store, splits, transforms, samples drawn by code."""
