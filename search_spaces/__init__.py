"""What can be searched: architectures, spaces and their costs, without torch."""
