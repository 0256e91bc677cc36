"""Proposing designs, storing trials, the Pareto front."""
