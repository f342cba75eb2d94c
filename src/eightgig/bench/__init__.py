"""Latency, memory and accuracy of runners, measured on the same inputs."""
