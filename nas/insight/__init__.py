"""What was learned: what choices are worth, which of them matter, and how far a study keeps to good practice."""
