"""The ground floor: files, console, interruption, provenance, devices."""
