"""The commands and their options, in one place; each command's work stands in a module of its own."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Sparse OFDM channel estimation from few pilots.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

ScenarioOption = Annotated[str | None, typer.Option("--scenario", help="Shipped scenario, or a .toml file.")]
PilotsOption = Annotated[int | None, typer.Option("--pilots", help="Number of pilot subcarriers.")]
MeasurementsOption = Annotated[int | None, typer.Option("--measurements", help="M of the synthetic setting.")]
CoefficientsOption = Annotated[int | None, typer.Option("--coefficients", help="N of the synthetic setting.")]
SnrOption = Annotated[float | None, typer.Option("--snr", help="SNR in dB, in the scenario's convention.")]
SamplesOption = Annotated[int, typer.Option("--samples", help="Channels to simulate, 1...10,000,000.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of pilots, channels and noise.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
DaskOption = Annotated[
    str | None, typer.Option("--dask", help="Measure on Dask: HOST:PORT, or local[:WORKERS].", show_default="here")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]


def _version(asked: bool) -> None:
    if asked:
        from .. import __version__

        print(f"chanest {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def estimate(
    scenario: ScenarioOption = None,
    pilots: PilotsOption = None,
    snr: SnrOption = None,
    measurements: MeasurementsOption = None,
    coefficients: CoefficientsOption = None,
    algorithm: Annotated[
        str | None, typer.Option(help="Estimator: na-alista, na-sbl, omp, ...", show_default="na-alista")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A shipped model, or an HDF5 file.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Iterations; the model's own when not given.")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Channels to simulate, 1...10,000,000.", show_default="1000")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of pilots, channels and noise.", show_default="0")] = None,
    device: DeviceOption = "auto",
    input_: Annotated[Path | None, typer.Option("--input", help="Received pilots: .h5, .npz, .mat.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the estimates: .h5, .npz, .mat.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw one sample: .png, .pdf, .svg.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    force: ForceOption = False,
) -> None:
    """Estimate channels from simulated pilots, or from received ones with --input."""
    from .common import Setting
    from .estimate import EstimateOptions, run

    run(
        EstimateOptions(
            Setting(scenario, pilots, snr, measurements, coefficients),
            algorithm,
            model,
            iterations,
            samples,
            seed,
            device,
            input_,
            output,
            plot,
            json,
            force,
        )
    )


@app.command()
def simulate(
    output: Annotated[Path, typer.Option(help="File to write: .h5, .npz, .mat.")],
    scenario: ScenarioOption = None,
    pilots: PilotsOption = None,
    snr: SnrOption = None,
    measurements: MeasurementsOption = None,
    coefficients: CoefficientsOption = None,
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    force: ForceOption = False,
) -> None:
    """Write a file of received pilots, with the true channels beside them."""
    from .common import Setting
    from .simulate import run

    run(output, Setting(scenario, pilots, snr, measurements, coefficients), samples, seed, force)


@app.command()
def train(
    output: Annotated[Path, typer.Option(help="Model file to write, .h5; a checkpoint lies beside it meanwhile.")],
    scenario: ScenarioOption = None,
    pilots: PilotsOption = None,
    measurements: MeasurementsOption = None,
    coefficients: CoefficientsOption = None,
    algorithm: Annotated[
        str | None, typer.Option(help="A learned one: na-alista, na-sbl, alista, lista, ...", show_default="na-alista")
    ] = None,
    start: Annotated[str | None, typer.Option(help="Begin from a model's parameters, grown to --iterations.")] = None,
    steps: Annotated[int, typer.Option(help="Batches in all.")] = 3000,
    batch: Annotated[int | None, typer.Option(help="Samples per batch; a default per algorithm.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak of Adam's rate; a default per algorithm.")] = None,
    iterations: Annotated[int | None, typer.Option(help="K; a default per algorithm.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Units of the LSTM (na-alista) or perceptrons (na-sbl).")] = None,
    inputs: Annotated[str | None, typer.Option(help='What the LSTM reads: "r", "u" or "r,u" (na-alista).')] = None,
    sparsity: Annotated[float | None, typer.Option(help="S of the schedule of support selection; 0 for none.")] = None,
    ridge: Annotated[float | None, typer.Option(help="Of the analytic weights; 0 for W = Phi.")] = None,
    snr: Annotated[str | None, typer.Option("--snr", help="SNR or LOW:HIGH in dB; the scenario's range.")] = None,
    fixed_pattern: Annotated[bool | None, typer.Option(help="One pilot pattern for all steps, or new ones.")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint.")] = False,
    force: ForceOption = False,
) -> None:
    """Train a model for a scenario."""
    from .common import Setting
    from .train import TrainOptions, run

    run(
        TrainOptions(
            output, Setting(scenario, pilots, None, measurements, coefficients), algorithm, start, steps, batch,
            learning_rate, iterations, hidden, inputs, sparsity, ridge, snr, fixed_pattern, seed, device, resume,
            force,
        )
    )  # fmt: skip


@app.command()
def compare(
    output: Annotated[Path, typer.Option(help="CSV to write; two plots lie beside it.")],
    scenarios: Annotated[str, typer.Option(help="Scenarios, with commas between.")] = "lte10",
    algorithms: Annotated[
        str | None, typer.Option(help="Estimators, models, model files: omp,na-sbl,my.h5.", show_default="all")
    ] = None,
    pilots: Annotated[str | None, typer.Option(help="Numbers of pilots: 50,75,100.", show_default="75")] = None,
    snr: Annotated[str, typer.Option("--snr", help="SNRs in dB: 0,10,20 or 0:30:10.")] = "0:30:10",
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    error_variance: Annotated[bool, typer.Option("--error-variance", help="Also what each expects of itself.")] = False,
    device: DeviceOption = "auto",
    dask: DaskOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted comparison.")] = False,
    force: ForceOption = False,
) -> None:
    """Compare estimators over scenarios, pilots and SNRs: a table, a CSV, two plots."""
    from .compare import CompareOptions, run

    run(
        CompareOptions(
            output, scenarios, algorithms, pilots, snr, samples, seed, error_variance, device, dask, resume, force
        )
    )


@app.command()
def link(
    output: Annotated[Path, typer.Option(help="CSV to write; a plot lies beside it.")],
    scenario: Annotated[str, typer.Option(help="Channels: a shipped scenario, or a .toml file.")] = "lte10",
    algorithms: Annotated[
        str | None, typer.Option(help="Estimators, models, model files: omp,my.h5.", show_default="the usual ones")
    ] = None,
    pilots: Annotated[str, typer.Option(help="Numbers of pilots on each pilot symbol: 50,75,100.")] = "75",
    ebno: Annotated[str, typer.Option(help="Eb/N0 in dB: 0,6,12 or 0:12:1.")] = "0:12:1",
    modulation: Annotated[str, typer.Option(help="qpsk, 16qam or 64qam, with commas between.")] = "qpsk",
    rate: Annotated[float, typer.Option(help="Of the LDPC code.")] = 0.5,
    symbols: Annotated[int, typer.Option(help="OFDM symbols of a slot.")] = 12,
    pilot_symbols: Annotated[int, typer.Option(help="How many of them carry pilots: 1 or 2.")] = 1,
    slots: Annotated[int, typer.Option(help="Slots to send per point, at most.")] = 256,
    block_errors: Annotated[int, typer.Option(help="Enough for an estimator at a point; 0 for all slots.")] = 50,
    seed: Annotated[int, typer.Option("--seed", help="Of pilots, channels, bits and noise.")] = 0,
    device: DeviceOption = "auto",
    dask: DaskOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted simulation.")] = False,
    force: ForceOption = False,
) -> None:
    """Error rates of an LDPC-coded link, per estimator: tables, a CSV, a plot. Needs Sionna: chanest[sionna]."""
    from .link import LinkOptions, run

    run(
        LinkOptions(
            output, scenario, algorithms, pilots, ebno, modulation, rate, symbols, pilot_symbols, slots,
            block_errors, seed, device, dask, resume, force,
        )
    )  # fmt: skip


@app.command()
def reproduce(
    figure: Annotated[str, typer.Argument(help="1...13, table1 or others.")],
    output: Annotated[Path, typer.Option(help="Folder for the CSV and the pictures.")] = Path("reproduction"),
    published: Annotated[Path | None, typer.Option(help="CSV of published results to set beside ours.")] = None,
    budget: Annotated[
        float | None, typer.Option(help="Minutes of training in all.", show_default="full training")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="Test samples, 1...10,000,000.")] = 10_000,
    iterations: Annotated[str | None, typer.Option(help="Some K, with commas between.", show_default="all")] = None,
    algorithms: Annotated[str | None, typer.Option(help="Some algorithms, with commas.", show_default="all")] = None,
    coefficients: Annotated[str | None, typer.Option(help="Some N, with commas.", show_default="all")] = None,
    snr: Annotated[str | None, typer.Option("--snr", help="Some SNRs, with commas.", show_default="all")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of trained models.", show_default="models/ in the output")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dask: DaskOption = None,
    force: ForceOption = False,
) -> None:
    """Draw a figure of the paper from our own runs; continues where it was interrupted."""
    from .reproduce import ReproduceOptions, run

    run(
        ReproduceOptions(
            figure,
            output,
            published,
            budget,
            samples,
            iterations,
            algorithms,
            coefficients,
            snr,
            cache,
            seed,
            device,
            dask,
            force,
        )
    )


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A shipped model, or an HDF5 file.")],
    to: Annotated[str, typer.Option(help="hdf5, mat, savedmodel, torch-export or onnx.")],
    output: Annotated[Path | None, typer.Option(help="What to write.", show_default="MODEL.h5, .mat, ...")] = None,
    pilots: PilotsOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the pilot pattern.", show_default="0")] = None,
    input_: Annotated[Path | None, typer.Option("--input", help="Received pilots whose pattern to take.")] = None,
    force: ForceOption = False,
) -> None:
    """Write a model for other programs, and verify it against the original."""
    from .export import ExportOptions, run

    run(ExportOptions(model, to, output, pilots, seed, input_, force))


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A model, scenario or file of pilots.", metavar="FILE|NAME")],
) -> None:
    """Say in words what a model, a scenario or a file is."""
    from .info import run

    run(name)


@app.command()
def models() -> None:
    """List the shipped models."""
    from .info import list_models

    list_models()


@app.command()
def scenarios() -> None:
    """List the shipped scenarios."""
    from .info import list_scenarios

    list_scenarios()
