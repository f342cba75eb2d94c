"""One folder a case study."""
