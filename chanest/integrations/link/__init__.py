"""An LDPC-coded link of Sionna's blocks, and its error rates."""
