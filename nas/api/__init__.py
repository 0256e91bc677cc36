"""The Python interface: what scripts and notebooks call, and what the command line calls, parses and prints."""
