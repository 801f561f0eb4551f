"""The command line: parses, calls, prints. A user's mistake is one line on stderr and exit code 2."""

import _thread
import io
import os
import sys
import threading
from typing import NoReturn

import typer

from ..errors import ChanestError

__all__ = ["main"]
_ClickException = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def main() -> None:
    """Entry point of ``chanest``."""
    from .app import app

    sys.unraisablehook = _interrupt_again
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without "µ" is no reason to fail
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False, prog_name="chanest")
        sys.stdout.flush()
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except ChanestError as error:
        _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except MemoryError:
        _fail("out of memory")
    except _ClickException as error:  # type: ignore[misc, unused-ignore]
        _fail(error.format_message())  # type: ignore[attr-defined, unused-ignore]
    sys.exit(code if isinstance(code, int) else 0)


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """An interrupt that falls into a callback of the garbage collector is dropped by Python: give it once more."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        again = threading.Timer(0.05, _thread.interrupt_main)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


def _fail(message: str, code: int = 2) -> NoReturn:
    print("chanest: error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(code)
