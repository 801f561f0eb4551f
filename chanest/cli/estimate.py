"""``chanest estimate``."""

from pathlib import Path

from ..evaluation.plots import check_plot_path
from ..files.arrays import check_output
from ..files.vectors import VectorFile
from ..problems.gaussian import SyntheticScenario
from . import ofdm, synthetic
from .common import check_distinct, check_iterations, chosen_device, chosen_setting
from .estimation import EstimateOptions, refuse_simulation_options


def run(options: EstimateOptions) -> None:
    """Estimate simulated or received pilots, and print what came of it."""
    check_iterations(options.iterations)
    device = chosen_device(options.device)
    model = Path(options.model) if options.model else None
    check_distinct(input=options.input, model=model, output=options.output, plot=options.plot)
    if options.output is not None:
        check_output(options.output, options.force)
    if options.plot is not None:
        check_plot_path(options.plot, options.force)
    if options.input is None:
        scenario = chosen_setting(options.setting)
        if isinstance(scenario, SyntheticScenario):
            synthetic.simulated(options, scenario, device)
        else:
            ofdm.simulated(options, scenario, device)
    else:
        refuse_simulation_options(options, options.input)
        if VectorFile.is_one(options.input):
            synthetic.received(options, options.input, device)
        else:
            ofdm.received(options, options.input, device)
