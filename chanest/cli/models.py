"""``chanest models``."""

from rich.table import Column, Table

from ..models import shipped_models, summarise_model
from ..problems import words_of_range
from .terminal import show


def models() -> None:
    """List the shipped models."""
    headings = ("model", "algorithm", "scenario", "pilots", "SNR (dB)", "K", "parameters")
    table = Table(*(Column(heading, no_wrap=True) for heading in headings), "validation NMSE (dB)")
    for path in shipped_models():
        facts = summarise_model(path)
        scenario = facts["scenario"]
        table.add_row(
            path.stem,
            facts["algorithm"],
            scenario.name,
            scenario.trained_size,
            words_of_range(scenario.training.snr_db),
            str(facts["n_iterations"]),
            f"{facts['n_parameters']:,}",
            formatted(facts["validation_nmse_db"], ".2f"),
        )
    show(table)


def formatted(value: object, form: str) -> str:
    """A number of a model file, or a question mark where it has none.

    >>> formatted(-12.3456, ".2f"), formatted(None, ".2f")
    ('-12.35', '?')
    """
    return format(value, form) if isinstance(value, int | float) else "?"
