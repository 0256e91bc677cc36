"""What is searched with: operators, supernet, subnets and their source."""
