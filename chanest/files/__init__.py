"""Files of measurements and of estimates."""
