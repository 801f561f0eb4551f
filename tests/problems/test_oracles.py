"""The oracles against exact channels and the textbook's conditional mean."""

import torch

from chanest import PilotPattern
from chanest.problems.oracles import path_gains


class TestOracle:
    pilots = torch.tensor(PilotPattern.random(40, 0).subcarriers)

    def test_least_squares_is_exact_without_noise_between_the_samples_too(self):
        delays = torch.tensor([[0.3, 17.25, 90.0]], dtype=torch.float64)
        gains = torch.tensor([[1.0, 0.5j, -0.2]], dtype=torch.complex128)
        turns = self.pilots.double().unsqueeze(-1) * delays / 1024
        h = (torch.exp(-2j * torch.pi * turns) * gains).sum(-1).unsqueeze(0)
        torch.testing.assert_close(path_gains(h, self.pilots, delays, torch.ones(1, 3), None, 1024), gains)

    def test_mmse_is_the_conditional_mean(self):
        """Against the textbook form C_g A^H (A C_g A^H + s^2 I)^-1 h."""
        delays = torch.tensor([[0.0, 3.0, 50.5]], dtype=torch.float64)
        variances = torch.tensor([[1.0, 0.5, 0.1]], dtype=torch.float64)
        h = torch.randn(1, 40, dtype=torch.complex128)
        a = torch.exp(-2j * torch.pi * self.pilots.double().unsqueeze(-1) * delays / 1024)
        c = (a * variances) @ a.mH + 0.3 * torch.eye(40)
        expected = variances * (a.mH @ torch.linalg.solve(c, h.mT)).squeeze(-1)
        found = path_gains(h, self.pilots, delays, variances, torch.tensor([0.3]), 1024)
        torch.testing.assert_close(found, expected)

    def test_absent_paths_are_zero(self):
        variances = torch.tensor([[1.0, 0.0]])
        gains = path_gains(torch.ones(1, 40) + 0j, self.pilots, torch.tensor([[0.0, 9.0]]), variances, None, 1024)
        assert gains[0, 1] == 0
