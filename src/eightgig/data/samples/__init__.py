"""Built-in samples, drawn by code."""

from eightgig.data.samples.flowers import SPECIES, render_flower, render_flowers

__all__ = ["SPECIES", "render_flower", "render_flowers"]
