"""Axial pooling, an operator that lives outside of the packages that search with it."""
