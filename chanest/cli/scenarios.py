"""``chanest scenarios``."""

from rich.table import Table

from ..problems import load_scenario, scenario_names
from .terminal import console


def scenarios() -> None:
    """List the shipped scenarios."""
    table = Table("scenario", "pilots", "SNR (dB)", "what it is")
    for name in scenario_names():
        scenario = load_scenario(name)
        convention = f" ({scenario.noise_convention})" if scenario.noise_convention else ""
        size = " x ".join(str(getattr(scenario, field)) for field in scenario.size_fields)
        table.add_row(name, size, f"{scenario.snr_db:g}{convention}", scenario.description)
    console().print(table)
