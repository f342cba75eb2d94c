"""A network over several cards: its parts in the order they are called, where it may be cut, and one stage of it."""
