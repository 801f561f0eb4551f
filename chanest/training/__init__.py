"""One training loop for every learned algorithm."""
