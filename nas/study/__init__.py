"""A study: its folder, settings and recipes."""
