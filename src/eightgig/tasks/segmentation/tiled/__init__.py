"""Masks of images of any size, tile by tile."""
