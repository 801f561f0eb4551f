"""The commands. Each stands in a module of its own, which is imported when it is asked for."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import ChanestError

COMMANDS = {
    "estimate": "Estimate channels from simulated pilots, or from received ones with --input.",
    "simulate": "Write a file of received pilots, with the true channels beside them.",
    "train": "Train a model for a scenario.",
    "compare": "Compare estimators over scenarios, pilots and SNRs: a table, a CSV, two plots.",
    "link": "Error rates of an LDPC-coded link, per estimator: tables, a CSV, a plot.",
    "reproduce": "Draw a figure of the paper from our own runs; continues where it was interrupted.",
    "export": "Write a model for other programs, and verify it against the original.",
    "info": "Say in words what a model, a scenario or a file is.",
    "models": "List the shipped models.",
    "scenarios": "List the shipped scenarios.",
    "examples": "Write a tutorial's script where you are, or list them.",
}
_HELP = {"help_option_names": ["-h", "--help"]}
_PLAIN: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False, "context_settings": _HELP}


class _Commands(TyperGroup):
    """A group that knows its commands by name and first line, and imports the one that runs."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if self._listing:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name])
        one = typer.Typer(add_completion=False, **_PLAIN)
        with _signals_waiting():
            module = import_module(f".{cmd_name}", __package__)
        one.command(cmd_name)(getattr(module, cmd_name))
        return typer.main.get_command(one)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EOFError as error:  # click takes it for an answer that nobody gives
            raise ChanestError(f"unexpected end of a file ({error})") from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        super().format_commands(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        self._listing = True
        return super().shell_complete(ctx, incomplete)


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """Signals come after the block: torch swallows one that falls into its import of NumPy, which then fails."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


app = typer.Typer(cls=_Commands, no_args_is_help=True, **_PLAIN)


def _version(asked: bool) -> None:
    if asked:
        from .. import __version__

        print(f"chanest {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Sparse OFDM channel estimation from few pilots.

    \b
    chanest estimate --pilots 75 --snr 10          every estimator on simulated channels
    chanest estimate --input pilots.h5 --output channels.h5
    chanest COMMAND --help                         its options, with examples
    """
