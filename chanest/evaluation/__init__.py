"""Estimators beside each other: metrics, scores, comparisons, resumable sweeps, where they run, and plots."""

from .comparison import compare, left_out
from .executors import Note, Task, executor
from .metrics import ErrorSums, common_window, nmse_db
from .scoring import REFERENCES, Score, estimate_file, estimate_writer, evaluate, plain, write_solution
from .sweep import Sweep

__all__ = [
    "REFERENCES",
    "ErrorSums",
    "Note",
    "Score",
    "Sweep",
    "Task",
    "common_window",
    "compare",
    "estimate_file",
    "estimate_writer",
    "evaluate",
    "executor",
    "left_out",
    "nmse_db",
    "plain",
    "write_solution",
]
