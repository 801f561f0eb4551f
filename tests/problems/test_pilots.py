"""Pilot patterns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chanest import Grid, PilotPattern, load_scenario
from chanest.errors import PilotError


@settings(max_examples=50, deadline=None)
@given(n_pilots=st.integers(2, 600), seed=st.integers(0, 2**62))
def test_random_patterns_are_distinct_sorted_inside_and_seeded(n_pilots, seed):
    pattern = PilotPattern.random(n_pilots, seed)
    subcarriers = np.array(pattern.subcarriers)
    assert len(pattern) == n_pilots
    assert np.all(np.diff(subcarriers) > 0)
    assert np.all((np.abs(subcarriers) <= 300) & (subcarriers != 0))
    assert np.array_equal(pattern.bins, np.where(subcarriers < 0, subcarriers + 1024, subcarriers))
    assert pattern == PilotPattern.random(n_pilots, seed)


def test_positions_are_uniform_over_the_band():
    counts = np.zeros(601)
    for seed in range(2000):
        counts[np.array(PilotPattern.random(60, seed).subcarriers) + 300] += 1
    assert counts[300] == 0
    assert abs(np.delete(counts, 300) - 200).max() < 6 * np.sqrt(200)


@pytest.mark.parametrize(
    ("subcarriers", "said"),
    [
        ((1,), "expected 2...600 of them, got 1"),
        ((), "got 0"),
        ((-301, 1), r"\[0\]: -301 is outside the band"),
        ((1, 301), r"\[1\]: 301 is outside the band"),
        ((-1, 0, 1), r"\[1\]: 0 is on DC"),
        ((1, 2, 2), "2 stands there more than once"),
        ((2, 1), "ascending"),
        ((1.0, 1e300), r"\[1\]: 1e\+300 is outside the band"),
        ((1, 2**63), "outside the band"),
        ((1.5, 2), "whole numbers"),
        (((1, 2), (3, 4)), "expected a vector"),
    ],
)
def test_impossible_patterns_are_refused(subcarriers, said):
    with pytest.raises(PilotError, match=said):
        PilotPattern(subcarriers)


def test_combs():
    assert np.all(np.diff(PilotPattern.comb(6, 2).bins[51:]) == 6)
    assert len(PilotPattern.comb(6)) == 100
    with pytest.raises(PilotError):
        PilotPattern.comb(6, 6)


def test_published_patterns():
    """Counts of notes.md; no published pattern holds DC."""
    for nominal, distinct in ((100, 93), (75, 73), (50, 49)):
        draws = np.random.RandomState(322).choice(600, nominal)
        pattern = load_scenario("lte10-reference").replace(n_pilots=nominal).sensing(seed=7)
        assert len(pattern) == distinct
        assert set(pattern.subcarriers) == set((draws - 300).tolist())


class TestAnyBand:
    BAND = (-4, -3, -2, 0, 1, 3)

    def test_pilots_may_stand_wherever_the_band_is(self):
        pattern = PilotPattern((-4, 0, 3), Grid(8, self.BAND))
        assert pattern.bins.tolist() == [4, 0, 3]
        assert pattern.n_used == 6
        assert pattern.used_subcarriers.tolist() == list(self.BAND)

    def test_without_one_it_is_ltes(self):
        assert np.array_equal(PilotPattern((1, 2)).used_subcarriers, load_scenario("lte10").used_subcarriers)

    @given(n_pilots=st.integers(2, 6), seed=st.integers(0, 2**32))
    def test_random_ones_stay_in_it(self, n_pilots, seed):
        pattern = PilotPattern.random(n_pilots, seed, Grid(8, self.BAND))
        assert set(pattern.subcarriers) <= set(self.BAND)
        assert len(pattern) == n_pilots

    def test_of_ltes_band_the_draw_is_the_same(self):
        band = tuple(load_scenario("lte10").used_subcarriers.tolist())
        assert PilotPattern.random(75, 4, Grid(1024, band)).subcarriers == PilotPattern.random(75, 4).subcarriers

    @pytest.mark.parametrize(
        ("subcarriers", "band", "said"),
        [
            ((-4, 2), BAND, r"\[1\]: 2 is outside the band -4...-2, 0...1, 3"),
            ((-4, -4), BAND, "more than once"),
            ((0,), BAND, "expected 2...6 of them"),
            ((0, 1), (1, 0), "used_subcarriers: expected ascending"),
            ((0, 1), (0, 0, 1), "used_subcarriers: expected ascending"),
            ((0, 1), (0, 1, 8), "within n_fft = 8 of each other"),
            ((0, 1), (0, 1.5), "whole numbers"),
            ((0, 1), (), "at least two"),
        ],
    )
    def test_impossible_ones_are_refused(self, subcarriers, band, said):
        with pytest.raises(PilotError, match=said):
            PilotPattern(subcarriers, Grid(8, band))
