"""Text from a language model: how the next token is chosen, how it is written, how fast and in how much memory."""
