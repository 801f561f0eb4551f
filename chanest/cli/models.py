"""``chanest models``."""

import math

from rich.table import Column, Table

from ..models import describe_model, shipped_models
from ..problems import words_of_range
from .terminal import show


def models() -> None:
    """List the shipped models."""
    headings = ("model", "algorithm", "scenario", "pilots", "SNR (dB)", "K", "parameters")
    table = Table(*(Column(heading, no_wrap=True) for heading in headings), "validation NMSE (dB)")
    for path in shipped_models():
        facts = describe_model(path)
        scenario = facts["scenario"]
        n_parameters = sum(
            math.prod(shape) for name, shape in facts["tensors"].items() if name.startswith("parameters")
        )
        table.add_row(
            path.stem,
            facts["algorithm"],
            scenario.name,
            scenario.trained_size,
            words_of_range(scenario.training.snr_db),
            str(facts["hyperparameters"]["n_iterations"]),
            f"{n_parameters:,}",
            formatted(facts["training"].get("validation_nmse_db"), ".2f"),
        )
    show(table)


def formatted(value: object, form: str) -> str:
    """A number of a model file, or a question mark where it has none.

    >>> formatted(-12.3456, ".2f"), formatted(None, ".2f")
    ('-12.35', '?')
    """
    return format(value, form) if isinstance(value, int | float) else "?"
