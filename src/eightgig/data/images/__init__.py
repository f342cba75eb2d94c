"""Pictures: decoded, checked, cropped, and in batches."""
