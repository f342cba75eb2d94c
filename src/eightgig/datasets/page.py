"""The report page."""

from eightgig.datasets.text import TextDataset


class PageDataset(TextDataset):
    """One self-contained HTML page."""
