"""Proximal policy optimisation (Schulman et al., 2017), with the details that CleanRL and Stable-Baselines3 agree on."""
