"""In other programs: Sionna, TensorFlow, exports, a coded link; each part imports its library."""

__all__ = ["export", "link", "sionna", "tensorflow"]
