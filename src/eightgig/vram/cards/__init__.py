"""Cards: the catalog, the one that is found, and how fast they are."""
