"""OFDM problems: scenarios, grids, pilots, channels, the receiver front end, recorded channels."""
