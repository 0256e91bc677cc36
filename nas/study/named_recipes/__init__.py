"""Recipes by name: the papers' numbers with their sources, one file a recipe."""
