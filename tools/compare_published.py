"""Our results beside published ones: how far each is, and how many are within 0.5 dB or better.

    python tools/compare_published.py reproduction/figure13.csv --published ../shared/reference/published_nmse.csv

RESULTS are CSVs that `chanest reproduce` wrote; of a point in several the last file's counts. Every published point of
the figures asked for counts, run or not: those of --figures, with --all every row of the published file, and otherwise
the figures of which RESULTS has a point.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chanest.errors import ChanestError
from chanest.reproduction.points import KEY, NMSE_FIGURES, panels
from chanest.reproduction.published import Distance, distances, read_published, read_results, summary


def points_of(figure: str) -> set[tuple[str, ...]]:
    """The keys of a figure's points."""
    return {point.key for panel in panels(figure) for point in panel.points}


def table_of(found: Sequence[Distance], show: int) -> Table:
    """The worst first, those not run last, ``show`` rows at most."""
    table = Table(*(name.removeprefix("lstm_").replace("n_iterations", "K") for name in KEY))
    for name in ("published", "ours", "worse by"):
        table.add_column(name, justify="right")
    for distance in sorted(found, key=lambda distance: distance.ours is None)[:show]:
        cells = ("not run", "") if distance.ours is None else (f"{distance.ours:.2f}", f"{distance.worse_by:+.2f}")
        table.add_row(*distance.key, f"{distance.published:.2f}", *cells)
    return table


def report(options: argparse.Namespace) -> None:
    """Read, compare, print."""
    if options.show < 0:
        raise ChanestError(f"--show: expected 0 or more rows, got {options.show}")
    published, rows = read_published(options.published), read_results(options.results)
    if options.all:
        wanted, counted = None, "every published point"
    else:
        here = {tuple(row[name] for name in KEY) for row in rows}
        asked = options.figures.split(",") if options.figures else [f for f in NMSE_FIGURES if points_of(f) & here]
        wanted = [key for figure in asked for key in sorted(points_of(figure))]
        counted = f"figures: {', '.join(asked) or 'none'}"
    found = distances(published, rows, wanted)
    if options.show:
        Console(width=120, highlight=False).print(table_of(found, options.show))
    print(f"{counted}\n{summary(found)}")


def main() -> None:
    """Read the options, report; a mistake is one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    parser.add_argument("--published", type=Path, required=True)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="count every row of the published file")
    which.add_argument("--figures", help=f"of {', '.join(NMSE_FIGURES)}, with commas between")
    parser.add_argument("--show", type=int, default=30, help="rows of the table")
    try:
        report(parser.parse_args())
    except ChanestError as error:
        print(f"compare_published: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
