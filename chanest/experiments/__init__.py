"""Comparisons of estimators over grids of scenarios, and the paper's figures from our own runs."""

from .compare import COLUMNS, KEY, compare_point, left_out

__all__ = ["COLUMNS", "KEY", "compare_point", "left_out"]
