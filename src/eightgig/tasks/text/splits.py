"""Which text is for training, validation or the final test."""

import pandas as pd

from eightgig.core.seeding import seed_from
from eightgig.data.ingest.splits import make_splits

make_text_splits = make_splits
"""As of images: by class, by content, ready-made splits kept."""


def make_document_splits(
    manifest: pd.DataFrame, *, val_fraction: float, test_fraction: float, seed: int
) -> pd.DataFrame:
    """Return one row a document: `index` (its row in the manifest), `path`, `split`.

    Documents stay whole. Test and validation take documents in a drawn order until they have their share of the bytes,
    at least one each; one that would more than double the share is passed over where others are left.

    Args:
        manifest: of three documents or more.
        val_fraction: share of the bytes.
        test_fraction: likewise.
        seed: of the draw, which the documents' contents decide with it.
    """
    order = sorted(range(len(manifest)), key=lambda row: seed_from(seed, "split", manifest["content_hash"][row]))
    sizes, splits = manifest["num_bytes"].tolist(), ["train"] * len(manifest)
    for split, fraction, others in (("test", test_fraction, 2), ("val", val_fraction, 1)):
        free = [row for row in order if splits[row] == "train"]
        for row in _chosen(free, sizes, fraction * sum(sizes), most=len(free) - others):
            splits[row] = split
    return pd.DataFrame({"index": range(len(manifest)), "path": manifest["path"].to_numpy(), "split": splits})


def _chosen(free: list[int], sizes: list[int], wanted: float, *, most: int) -> list[int]:
    chosen: list[int] = []
    held = 0
    for row in free:
        if held >= wanted or len(chosen) == most:
            break
        if held + sizes[row] <= 2 * wanted:
            chosen.append(row)
            held += sizes[row]
    return chosen or [min(free, key=lambda row: sizes[row])]
