"""The command line: parses, calls, prints. A user's mistake is one line on stderr and exit code 2."""

import sys

import typer

from ..errors import ChanestError

_UsageError = typer.BadParameter.__mro__[2]  # click's ClickException, vendored by newer typer


def main() -> None:
    """Entry point of ``chanest``."""
    from .app import app

    try:
        code = app(standalone_mode=False, prog_name="chanest")
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except ChanestError as error:
        _fail(str(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except _UsageError as error:  # type: ignore[misc]
        _fail(error.format_message())  # type: ignore[attr-defined]
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int = 2) -> None:
    print("chanest: error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(code)
