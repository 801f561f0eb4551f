"""Models: an algorithm with its parameters and the problem it was made for; files, the zoo, caches."""
