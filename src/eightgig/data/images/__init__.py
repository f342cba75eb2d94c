"""Images: decoded, checked, cropped, and in batches."""
