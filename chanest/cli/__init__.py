"""The command line: parses, calls, prints. A user's mistake is one line on stderr and exit code 2."""

import _thread
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import typer

from ..errors import ChanestError

__all__ = ["main"]
_ClickException = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
_ENDED = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}


class _Stopped(BaseException):
    """A signal that ends the command, which cleans up on its way out; no KeyboardInterrupt, which click answers."""

    def __init__(self, number: int) -> None:
        self.name, self.code = signal.Signals(number).name, 128 + number


def main() -> None:
    """Entry point of ``chanest``."""
    _open_streams()
    sys.unraisablehook = _interrupt_again
    with _stoppable() as stopped:
        _run(stopped)


def _run(stopped_by: list[_Stopped]) -> NoReturn:
    try:
        from .app import app

        try:
            code = app(sys.argv[1:] or ["--help"], standalone_mode=False, prog_name="chanest")
        except Exception:
            if stopped_by:  # of what a signal raises inside a library, it may make an error of its own
                raise stopped_by[0] from None
            raise
        sys.stdout.flush()
    except _Stopped as stopped:
        _fail(_ENDED[stopped.name], stopped.code)
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except ChanestError as error:
        _fail(str(error))
    except BrokenPipeError:
        _to_nowhere(sys.stdout)
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except MemoryError:
        _fail("out of memory")
    except RuntimeError as error:  # of torch
        if "allocate" not in str(error) and "out of memory" not in str(error):
            raise
        _fail(f"out of memory ({str(error).splitlines()[0]})")
    except _ClickException as error:  # type: ignore[misc, unused-ignore]
        _fail(error.format_message())  # type: ignore[attr-defined, unused-ignore]
    sys.exit(code if isinstance(code, int) else 0)


def _open_streams() -> None:
    """Streams that are there, whoever closed them, and that print any text, whatever the terminal knows."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free; else a file that is written would get it
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without "µ" is no reason to fail


@contextmanager
def _stoppable() -> Iterator[list[_Stopped]]:
    """While a command runs, signals that end it raise; those that were ignored, as nohup does, still are.

    The list gets what was raised.
    """
    stopped: list[_Stopped] = []

    def stop(number: int, frame: FrameType | None) -> None:
        for name in ("SIGTERM", "SIGHUP"):  # once is enough: what follows is cleaning up
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        stopped.append(_Stopped(number))
        raise stopped[-1]

    before = {}
    for name in _ENDED:
        with suppress(AttributeError, ValueError):  # none of Windows', or not in the main thread
            number = getattr(signal, name)
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """An interrupt that falls into a callback of the garbage collector is dropped by Python: give it once more."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt | _Stopped):
        again = threading.Timer(0.05, _thread.interrupt_main)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


def _fail(message: str, code: int = 2) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is sys.stderr:
                print("chanest: error:", " ".join(message.split()), file=stream)
            stream.flush()
        except (OSError, ValueError):  # full or closed: nothing more can be said there
            _to_nowhere(stream)
    sys.exit(code)


def _to_nowhere(stream: object) -> None:
    """Let what a stream still holds be written to nowhere, else the interpreter fails at its end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]
