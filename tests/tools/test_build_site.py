"""The check of the built site finds what is wrong with it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def build_site(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import build_site

    return build_site


def pages(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return folder


def test_a_site_whose_links_hold_has_no_faults(build_site, tmp_path):
    site = pages(tmp_path, index='<a href="one.html#here">', one='<p id="here"><a href="https://example.org">')
    assert build_site.faults(site) == []


def test_dead_links_places_and_pages_that_nothing_leads_to_are_named(build_site, tmp_path):
    site = pages(tmp_path, index='<a href="gone.html"><a href="one.html#there">', one="", alone="")
    assert build_site.faults(site) == [
        "index.html: gone.html leads nowhere",
        "index.html: one.html#there has no such place",
        "alone.html: no link leads there",
    ]
