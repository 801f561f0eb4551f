"""Every estimator by name, with its error variance."""

import pytest

from chanest import PilotPattern, load_scenario
from chanest.algorithms import EP, OMP, LinearInterpolation
from chanest.evaluation.metrics import nmse_db
from chanest.models.model import Model
from chanest.models.zoo import INTERPOLATORS, pick_model
from chanest.problems.ofdm.channels import TapChannel
from chanest.problems.random import seeded

LTE10 = load_scenario("lte10")


@pytest.mark.parametrize("algorithm", [OMP(), EP(sparsity=8, decay=3.5)], ids=["omp", "ep"])
class TestGreedyAndMessages:
    pattern = PilotPattern.random(60, 0)

    def test_ahead_of_linear_interpolation_on_sparse_channels(self, algorithm):
        data = LTE10.draw(self.pattern, 300, seeded(0, "test"), 20)
        told = data.noise_variance
        ours = Model(algorithm, LTE10).estimate(data.observations, self.pattern, told).cfr
        linear = Model(LinearInterpolation(), LTE10).estimate(data.observations, self.pattern, told).cfr
        assert nmse_db(ours, data.truth["cfr"]) < nmse_db(linear, data.truth["cfr"]) - 3


PATTERNS = {"32": PilotPattern.random(32, 1), "75": PilotPattern.random(75, 1), "comb": PilotPattern.comb(8, 3)}


@pytest.mark.parametrize("scenario", ["lte10", "etu"])
@pytest.mark.parametrize("name", LTE10.peers)
def test_every_estimator_gives_a_finite_error_variance(name, scenario):
    scenario = load_scenario(scenario)
    for pattern in PATTERNS.values():
        model = pick_model(name, scenario, len(pattern))
        data = scenario.draw(pattern, 4, seeded(0, "test"))
        for told in (data.noise_variance, None):
            estimate = model.estimate(data.observations, pattern, told, error_variance=True)
            assert estimate.cfr.shape == estimate.error_variance.shape == (4, 600)
            assert bool(estimate.cfr.isfinite().all())
            assert bool((estimate.error_variance.isfinite() & (estimate.error_variance > 0)).all())
            assert (estimate.cir is None) == (name in INTERPOLATORS)


def test_ep_takes_the_scenarios_prior():
    ep = pick_model("ep", LTE10, 75).algorithm
    assert isinstance(LTE10.channel, TapChannel)
    assert (ep.sparsity, ep.decay) == (LTE10.channel.sparsity, LTE10.channel.decay)
    assert pick_model("ep", load_scenario("etu"), 75, 5).algorithm.n_iterations == 5
