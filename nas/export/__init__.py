"""Standalone models: writing, importing, evaluating them."""
