"""Where work runs: the budget and its workers, and the only code that uses Ray."""
