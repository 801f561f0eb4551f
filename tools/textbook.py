"""NA-ALISTA and NA-SBL as a research script would write them: the yardstick of tools/bench_estimators.py.

Written from the equations of docs/models.md, and without a profiler: eager PyTorch, FFTs of the full length over
grids of zeros, `torch.abs` of complex numbers, `topk`, one `nn.LSTMCell` step per iteration, dense covariance
matrices. Nothing is slow on purpose: indices, matrices, the step size's norm and the schedule are made once. They
take the weights of a model of chanest, and tests/tools/test_textbook.py holds their estimates and gradients against it.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu, softplus

from chanest import Model, PilotPattern
from chanest.algorithms.shrinkage import support_schedule
from chanest.operators.base import power_start


class TextbookNAALISTA(nn.Module):
    """NA-ALISTA with W = Phi for one pilot pattern; ``forward``: (batch, M) of norm 1 -> (batch, N).

    Args:
        model: NA-ALISTA of chanest whose delay window begins at 0, with inputs "r,u" and ridge 0.
        pattern: the pilots.
        dtype: torch.float32 or torch.float64, of the parameters.
        device: where it works.
    """

    feature_mean: Tensor
    feature_deviation: Tensor

    def __init__(
        self,
        model: Model,
        pattern: PilotPattern,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        settings, scenario = model.algorithm.hyperparameters, model.ofdm
        if scenario.first_tap_samples or settings["ridge"] or settings["lstm_inputs"] != "r,u":
            raise ValueError("expected a delay window from 0 on, ridge 0 and the inputs r,u")
        hidden = settings["lstm_hidden"]
        self.lstm = nn.LSTMCell(2, hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 2)
        self.initial_hidden = nn.Parameter(torch.zeros(hidden))
        self.initial_cell = nn.Parameter(torch.zeros(hidden))
        self.feature_mean = nn.Buffer(torch.zeros(2))
        self.feature_deviation = nn.Buffer(torch.ones(2))
        weights = model.algorithm.state_dict()
        self.load_state_dict({name: w for name, w in weights.items() if not name.startswith("calibration")})
        self.to(device, dtype)
        self.n_fft, self.n_taps, self.n_pilots = pattern.n_fft, scenario.n_taps, len(pattern)
        self.pilots = torch.tensor(pattern.bins, device=device)
        schedule = settings.get("schedule")
        self.n_exempt = support_schedule(settings["sparsity"], settings["n_iterations"], schedule)
        self.norm = self.squared_norm()

    def phi(self, x: Tensor) -> Tensor:
        """Phi x: the spectrum of the padded taps at the pilots."""
        return torch.fft.fft(x, n=self.n_fft)[:, self.pilots] / math.sqrt(self.n_pilots)

    def phi_adjoint(self, y: Tensor) -> Tensor:
        """Phi^H y: the pilots in a spectrum of zeros, and the first taps of its inverse."""
        spectrum = torch.zeros(y.shape[0], self.n_fft, dtype=y.dtype, device=y.device)
        spectrum[:, self.pilots] = y
        return torch.fft.ifft(spectrum, norm="forward")[:, : self.n_taps] / math.sqrt(self.n_pilots)

    @torch.no_grad()
    def squared_norm(self) -> float:
        """L, by the thirty power iterations with which the model was trained."""
        v = power_start(self.n_taps).to(self.pilots.device, self.head.weight.dtype.to_complex()).unsqueeze(0)
        norm = 1.0
        for _ in range(30):
            v = self.phi_adjoint(self.phi(v / norm))
            norm = v.norm().item()
        return norm

    def forward(self, y: Tensor) -> Tensor:
        x = torch.zeros(y.shape[0], self.n_taps, dtype=y.dtype, device=y.device)
        h = self.initial_hidden.expand(y.shape[0], -1)
        cell = self.initial_cell.expand(y.shape[0], -1)
        for p in self.n_exempt:
            b = self.phi(x) - y
            c = self.phi_adjoint(b)
            norms = torch.stack([torch.abs(b).sum(dim=1), torch.abs(c).sum(dim=1)], dim=1)
            features = (torch.log(norms) - self.feature_mean) / self.feature_deviation
            h, cell = self.lstm(features, (h, cell))
            gamma, theta = softplus(self.head(relu(self.hidden(cell)))).chunk(2, dim=1)
            x = self.shrink(x - gamma / self.norm * c, 0.02 * theta, p)
        return x

    def shrink(self, x: Tensor, theta: Tensor, p: int) -> Tensor:
        """The soft threshold, which the p largest entries of every row pass unshrunk."""
        modulus = torch.abs(x)
        shrunk = torch.sgn(x) * relu(modulus - theta)
        if p == 0:
            return shrunk
        largest = torch.topk(modulus, p, dim=1).indices
        exempt = torch.zeros_like(modulus, dtype=torch.bool).scatter(1, largest, True)
        return torch.where(exempt, x, shrunk)


class TextbookTraining:
    """Adam on the mean over groups of equal SNR of log NMSE, gradients clipped at norm 1, as chanest trains."""

    def __init__(self, network: TextbookNAALISTA, learning_rate: float = 3e-3, snr_groups: int = 8) -> None:
        self.network, self.snr_groups = network, snr_groups
        self.optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)

    def loss(self, y: Tensor, scale: Tensor, truth: Tensor) -> Tensor:
        """Of a batch y, scaled to norm 1 by the factor whose inverse is ``scale`` (batch, 1), and its true taps."""
        error = torch.abs(self.network(y) * scale - truth) ** 2
        power = torch.abs(truth) ** 2
        error, power = (e.sum(dim=1).reshape(self.snr_groups, -1).sum(dim=1) for e in (error, power))
        return torch.log(error / power).mean()

    def step(self, y: Tensor, scale: Tensor, truth: Tensor) -> float:
        """One step of training; the loss."""
        self.optimiser.zero_grad()
        loss = self.loss(y, scale, truth)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return loss.item()


class TextbookNASBL(nn.Module):
    """NA-SBL for one pilot pattern by dense matrices; ``forward``: (batch, M) of norm 1, (batch,) noise -> (batch, N).

    Args:
        model: NA-SBL of chanest.
        pattern, dtype, device: as of :class:`TextbookNAALISTA`.
    """

    def __init__(
        self,
        model: Model,
        pattern: PilotPattern,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        settings, scenario = model.algorithm.hyperparameters, model.ofdm
        n_hidden, n_updates = settings["n_hidden"], settings["n_iterations"] - 1
        self.tap_rules = nn.ModuleList(_perceptron(36, n_hidden) for _ in range(n_updates))
        self.noise_rules = nn.ModuleList(_perceptron(7, n_hidden // 2) for _ in range(n_updates))
        layers = {"input": "0", "hidden": "2", "output": "4"}
        weights = {}
        for name, w in model.algorithm.state_dict().items():
            if "rules" in name:
                rules, k, layer, kind = name.split(".")
                weights[f"{rules}.{k}.{layers[layer]}.{kind}"] = w
        self.load_state_dict(weights)
        self.to(device, dtype)
        delays = scenario.first_tap_samples + torch.arange(scenario.n_taps)
        turns = torch.outer(torch.tensor(pattern.bins), delays) % pattern.n_fft / pattern.n_fft
        phi = torch.exp(-2j * math.pi * turns.double()) / math.sqrt(len(pattern))
        prior = torch.exp(-settings["decay"] * torch.arange(scenario.n_taps, dtype=torch.float64) / scenario.n_taps)
        prior = prior / prior.sum()
        covariance = (phi * prior) @ phi.conj().T
        crowding = len(phi) * covariance.abs().square().sum() / covariance.diagonal().real.sum() ** 2
        self.crowding = crowding.log().item()
        self.n_pilots, self.n_taps = phi.shape
        self.phi = phi.to(device, dtype.to_complex())
        self.prior = prior.to(device, dtype)
        self.eye = torch.eye(self.n_pilots, dtype=self.phi.dtype, device=device)
        self.place = torch.linspace(-1, 1, self.n_taps, dtype=dtype, device=device)

    def forward(self, y: Tensor, noise_variance: Tensor) -> Tensor:
        m = self.n_pilots
        s = noise_variance.clamp(1e-5 / m, 4 / m)
        g = self.prior.expand(y.shape[0], -1)
        for tap_rule, noise_rule in zip(self.tap_rules, self.noise_rules, strict=True):
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.covariance(g, s)))
            w = (inverse @ y[:, :, None])[:, :, 0]
            q = w @ self.phi.conj()
            d = (self.phi.conj() * (inverse @ self.phi)).sum(dim=1).real
            trace = inverse.diagonal(dim1=1, dim2=2).real.mean(dim=1)
            em_s = s * (1 + s * (w.abs().square().mean(dim=1) - trace))
            em_g = (g * q).abs().square() + g * relu(1 - g * d)
            fit = (y.conj() * w).real.mean(dim=1)
            taps, noise = self.features(g, s, q, d, em_s, fit)
            g = (em_g * torch.exp((2 * tap_rule(taps)[..., 0]).clamp(-20, 20))).clamp(1e-8, 4)
            s = (s * torch.exp((2 * noise_rule(noise)[..., 0]).clamp(-20, 20))).clamp(1e-5 / m, 4 / m)
        factor = torch.linalg.cholesky(self.covariance(g, s))
        return g * (torch.cholesky_solve(y[:, :, None], factor)[:, :, 0] @ self.phi.conj())

    def covariance(self, g: Tensor, s: Tensor) -> Tensor:
        """Phi diag(g) Phi^H + (s + 1e-5 sum(g)/M) I: (batch, M, M)."""
        load = s + 1e-5 * g.sum(dim=1) / self.n_pilots
        return (self.phi * g[:, None, :]) @ self.phi.conj().T + load[:, None, None] * self.eye

    def features(self, g: Tensor, s: Tensor, q: Tensor, d: Tensor, em_s: Tensor, fit: Tensor) -> tuple[Tensor, Tensor]:
        """What the perceptrons of the taps and of the noise read: (batch, N, 36) and (batch, 7)."""
        log_q = torch.log(q.abs().square().clamp_min(torch.finfo(g.dtype).tiny))
        log_g, log_d, log_p = torch.log(g), torch.log(d), torch.log(self.prior)
        explained = ((g * d).sum(dim=1) / self.n_pilots).clamp(1e-4, 1 - 1e-4)
        ones = torch.ones_like(s)
        common = [
            torch.log(fit) / 6,
            torch.log(em_s.clamp_min(torch.finfo(g.dtype).tiny) / s) / 6,
            math.log(self.n_pilots / 75) * ones,
            ones,  # the noise variance is told
            torch.logit(explained) / 6,
            self.crowding * ones,
        ]
        shared = torch.stack(common, dim=1)
        own = [
            (log_q + 2 * log_g - log_p) / 6,
            torch.logit((g * d).clamp(1e-6, 1 - 1e-6)) / 6,
            (log_g - log_p) / 6,
            (log_p - torch.log(s)[:, None]) / 6,
            (log_q - log_d) / 6,
            self.place.expand_as(g),
        ]
        taps = torch.cat([torch.stack(own, dim=2), shared[:, None, :].expand(-1, self.n_taps, -1)], dim=2)
        beside = pad(taps, (0, 0, 1, 1))
        level = torch.log(self.n_pilots * s) / 6
        return (
            torch.cat([beside[:, :-2], taps, beside[:, 2:]], dim=2),
            torch.cat([shared, level[:, None]], dim=1),
        )


def _perceptron(n_inputs: int, n_hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_inputs, n_hidden),
        nn.SiLU(),
        nn.Linear(n_hidden, n_hidden),
        nn.SiLU(),
        nn.Linear(n_hidden, 1),
    )
