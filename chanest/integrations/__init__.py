"""In other programs: Sionna, TensorFlow, exports, a coded link."""
