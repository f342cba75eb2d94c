"""Proximal policy optimisation (Schulman et al., 2017), in the details on which CleanRL and Stable-Baselines3 agree."""
