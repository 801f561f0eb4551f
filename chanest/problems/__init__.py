"""Problems: what is transmitted, over which channels, at which noise level."""
