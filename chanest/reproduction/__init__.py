"""The paper's figures from our own runs."""
