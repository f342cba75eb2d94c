"""Images with boxes: read from the usual formats, checked, split and stored."""
