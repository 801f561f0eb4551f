"""Estimators beside each other: metrics, scores, comparisons, sweeps, plots."""
