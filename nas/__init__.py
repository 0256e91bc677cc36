"""What is done with supernets: train, search, retrain, export, report."""
