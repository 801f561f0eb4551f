"""Build the site from docs/, and hold it to account: no warning, no dead link, no page that cannot be reached.

    python tools/build_site.py [--output site] [--serve [--port 8000]]

Needs ``pip install -e '.[docs]'``.
"""

import argparse
import functools
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
START = "index.html"
NOT_LINKED = {"search.html"}  # opened by the search field


class _Page(HTMLParser):
    """The places that a page links to, and those on it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.anchors |= {str(named[key]) for key in ("id", "name") if named.get(key)}
        self.links += [str(named[key]) for key in ("href", "src") if named.get(key)]


def build(output: Path) -> None:
    """Build with Sphinx; any warning ends the program. An older site goes: pages that are no more would stay."""
    if (output / ".buildinfo").is_file():
        shutil.rmtree(output)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(output)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}, check=False)
    if done.returncode:
        raise SystemExit("the site has warnings")


def faults(site: Path) -> list[str]:
    """Dead links and anchors of a built site, and pages that no click leads to from its first."""
    files = (path for path in site.rglob("*.html") if "_static" not in path.parts)
    pages = {path.relative_to(site): _Page(path.read_text()) for path in files}
    found: list[str] = []
    leads: dict[Path, set[Path]] = {}
    for name, page in pages.items():
        leads[name] = set()
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = (site / name.parent / unquote(parts.path)).resolve() if parts.path else (site / name).resolve()
            target = there.relative_to(site.resolve()) if there.is_relative_to(site.resolve()) else None
            if target is None or not there.is_file():
                found.append(f"{name}: {link} leads nowhere")
            elif target in pages:
                leads[name].add(target)
                # Sphinx's pages of source take an object for one of the first module that shows any of its file.
                known = unquote(parts.fragment) in pages[target].anchors or name.parts[0] == "_modules"
                if parts.fragment and not known:
                    found.append(f"{name}: {link} has no such place")
    reached, new = set(), {Path(START)}
    while new:
        reached |= new
        new = set().union(*(leads[page] for page in new)) - reached
    alone = sorted(name for name in pages.keys() - reached if str(name) not in NOT_LINKED)
    return found + [f"{name}: no link leads there" for name in alone]


def serve(site: Path, port: int) -> None:
    """Serve a folder on this machine until interrupted."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{port}, until Ctrl-C")
        server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "site")
    parser.add_argument("--serve", action="store_true", help="then serve it on this machine")
    parser.add_argument("--port", type=int, default=8000)
    told = parser.parse_args()
    build(told.output)
    wrong = faults(told.output)
    if wrong:
        raise SystemExit("\n".join(wrong))
    print(f"{told.output}: {len(list(told.output.rglob('*.html')))} pages, no warning, no dead link")
    if told.serve:
        serve(told.output, told.port)


if __name__ == "__main__":
    main()
