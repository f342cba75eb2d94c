"""Checkpoints, what they hold and belong to, and whether a run goes on from them."""
