"""Scores of networks, and of paths of a supernet."""
