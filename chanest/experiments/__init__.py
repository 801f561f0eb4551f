"""Comparisons of estimators over grids of scenarios, pilots and SNRs."""

from .compare import COLUMNS, KEY, compare_point

__all__ = ["COLUMNS", "KEY", "compare_point"]
