"""Latencies of designs from a table of parts."""
