"""A number read from an image: an age, a ripeness in percent."""
