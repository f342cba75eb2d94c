"""Every reader of foreign files, declared once; heavy libraries are imported where a file is written or read."""

MODULES = (
    "tests.fuzz.readers.images",
    "tests.fuzz.readers.stores",
    "tests.fuzz.readers.labels",
    "tests.fuzz.readers.texts",
    "tests.fuzz.readers.weights",
    "tests.fuzz.readers.networks",
    "tests.fuzz.readers.records",
    "tests.fuzz.readers.films",
)
