"""Thin Kedro adapters: each saves atomically and says honestly whether it exists."""
