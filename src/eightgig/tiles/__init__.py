"""Images of any size through a network in bounded memory: read by rows, run by tiles, blended without seams."""
