"""Estimators beside each other: metrics, scores, comparisons, resumable sweeps, where they run, and plots."""

from .comparison import compare, left_out
from .metrics import ErrorSums, common_window, nmse_db
from .scoring import REFERENCES, Score, estimate_file, estimate_writer, evaluate, plain

__all__ = [
    "REFERENCES",
    "ErrorSums",
    "Score",
    "common_window",
    "compare",
    "estimate_file",
    "estimate_writer",
    "evaluate",
    "left_out",
    "nmse_db",
    "plain",
]
