"""Training in several processes: who starts them, what each does, and how they end."""
