"""What each task knows alone: a wing a task, and none knows another."""
