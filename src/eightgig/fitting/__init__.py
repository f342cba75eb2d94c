"""Will it fit: one question for any network by its name, answered a row a card."""
