"""An LDPC-coded link of Sionna's blocks, and its error rates."""

__all__ = ["simulation", "transmission"]
