"""Images with a class for each pixel: their files, checks, store, and batches."""
