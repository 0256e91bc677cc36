"""What every other room stands on: files, console, interruption, provenance, devices."""
