"""Every reader of foreign files, declared once; heavy libraries are imported where a file is written or read."""

MODULES = (
    "readers.images",
    "readers.stores",
    "readers.labels",
    "readers.texts",
    "readers.weights",
    "readers.networks",
    "readers.records",
    "readers.films",
)
