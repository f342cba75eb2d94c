"""Deep learning that fits an 8 GB card."""

__version__ = "0.1.0"
