"""Masks of pictures of any size, tile by tile."""
