"""Designs trained alone, and how well cheaper scores order them."""
