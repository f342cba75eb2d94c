"""The HDF5 store of tokens as a dataset."""

from typing import TYPE_CHECKING

from eightgig.datasets.files import FileDataset

if TYPE_CHECKING:
    from eightgig.data.store.tokens import TokenContent, TokenStore


class TokenStoreDataset(FileDataset["TokenContent", "TokenStore"]):
    """Token ids of any length, one sample after the other: loaded as a reader that holds none of them."""

    def save(self, data: "TokenContent") -> None:
        """Write a new store; the old one stays until the new one is whole."""
        data.write(self.path)

    def load(self) -> "TokenStore":
        """Open the store's index."""
        from eightgig.data.store.tokens import TokenStore

        return TokenStore(self.path)

    def _exists(self) -> bool:
        from eightgig.data.store.tokens import is_complete

        return is_complete(self.path)
