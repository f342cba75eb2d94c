"""The HDF5 store: its format, writer, reader and checks."""
