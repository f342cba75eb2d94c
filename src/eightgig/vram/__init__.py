"""Memory: what a plan says, what is enforced, what is measured."""
