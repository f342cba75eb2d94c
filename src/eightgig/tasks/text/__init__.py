"""Texts: files of them, what is wrong with them, their tokens in a store, and batches of those."""
