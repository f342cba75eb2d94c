"""Detection in videos and from cameras, as fast as the slowest stage allows."""
