"""Images: where they come from, how they are read, augmented and split."""
