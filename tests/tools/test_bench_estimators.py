"""The bench of the estimators: its counts against hand-computed ones and against what torch dispatches, a tiny run."""

import io
import json
from collections import Counter
from math import log2

import pytest
import torch
from rich.console import Console
from test_textbook import ROOT, relative
from torch.utils._python_dispatch import TorchDispatchMode

from chanest import load_model
from chanest.models import pick_model

CPU = torch.device("cpu")


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")


@pytest.fixture
def lte(tools):
    from bench_counts import Problem

    return Problem(75, 256, 1024, 600)


def only(work, kind):
    return {unit.size: n for unit, n in work.items() if unit.kind == kind}


def network_flops(work):
    return sum(n * unit.flops for unit, n in work.items() if unit.kind == "product")


class TestCounts:
    def test_units(self, tools):
        from bench_counts import BYTE, Unit

        flops = {
            Unit("fft", (1024,)): 51_200,
            Unit("product", (3, 4, 5)): 120,
            Unit("complex product", (1, 75, 256)): 153_600,
            Unit("cholesky", (75,)): 562_500,
            Unit("inverse", (75,)): 1_125_000,
            BYTE: 0,
        }
        assert {unit: unit.flops for unit in flops} == pytest.approx(flops)

    def test_ways_to_apply_the_operator(self, lte):
        from bench_counts import flops

        assert {way: flops(work) for way, work in lte.forward.items()} == {
            "padded": 51_200,
            "dense": 153_600,
            "pruned": 40_960,
        }
        assert {way: flops(work) for way, work in lte.gradient.items()} == {
            "padded": 51_200,
            "dense": 153_600,
            "pruned": 40_960,
            "toeplitz": 46_080,
        }
        assert only(lte.forward["padded"], "byte") == {(): 16 * 75}
        assert only(lte.adjoint["padded"], "byte") == {(): 8 * 75 + 8 * 1024}
        assert only(lte.gradient["toeplitz"], "byte") == {(): 16 * 512}

    def test_a_window_that_does_not_divide_the_dft_is_not_pruned(self, tools):
        from bench_counts import Problem

        assert sorted(Problem(75, 272, 1024, 600).gradient) == ["dense", "padded", "toeplitz"]

    def test_na_alista_by_hand(self, lte):
        count = lte.na_alista(n_iterations=2, lstm_hidden=4, n_inputs=2)
        assert only(count.fixed, "product") == {(1, 2, 16): 2, (1, 4, 16): 2, (1, 4, 4): 2, (1, 4, 2): 2}
        assert network_flops(count.fixed) == 2 * 2 * (32 + 64 + 16 + 8)
        assert only(count.fixed, "byte") == {(): 2 * (144 + 1200 + 12_288)}
        assert {part.name: part.times for part in count.parts} == {"forward": 1, "first adjoint": 1, "adjoint": 1}

    def test_na_sbl_by_hand(self, lte):
        count = lte.na_sbl(n_iterations=6, n_hidden=32)
        assert only(count.fixed, "cholesky") == {(75,): 6}
        assert only(count.fixed, "inverse") == {(75,): 5}
        assert only(count.fixed, "fft") == {(1024,): 6 + 5}  # covariances, diagonals
        assert {part.name: part.times for part in count.parts} == {"adjoint": 6}
        updates = 16 * 5625 + 8 * 5625 + 8 * 5625 + 8192 + 20 * 256 + 64 * 256 + 16 * 256 * 32
        assert only(count.fixed, "byte") == {(): 5 * updates + 16 * 5625 + 8 * 5625}

    def test_every_weight_of_a_network_is_one_multiply_add(self, lte):
        algorithm = load_model("na-alista-lte10-m75").algorithm
        weights = sum(p.numel() for name, p in algorithm.named_parameters() if "weight" in name and "calib" not in name)
        assert network_flops(lte.of("na-alista", algorithm.hyperparameters).fixed) == 2 * 16 * weights
        algorithm = load_model("na-sbl-lte10-m75").algorithm
        taps, noise = (
            sum(p.numel() for name, p in algorithm.named_parameters() if name.startswith(of) and "weight" in name)
            for of in ("tap_rules", "noise_rules")
        )
        assert network_flops(lte.of("na-sbl", algorithm.hyperparameters).fixed) == 2 * (256 * taps + noise)

    def test_the_textbook_dispatches_what_is_counted(self, lte):
        from bench_contenders import make_data
        from textbook import TextbookNAALISTA

        class Transforms(TorchDispatchMode):
            def __init__(self):
                super().__init__()
                self.lengths = Counter()

            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                if "fft" in str(function):
                    self.lengths[args[0].shape[-1]] += args[0][..., 0].numel()
                return function(*args, **(kwargs or {}))

        data, model = make_data(3, CPU), load_model("na-alista-lte10-m75")
        network = TextbookNAALISTA(model, data.pattern)
        with torch.no_grad(), Transforms() as transforms:
            network(data.y)
        assert transforms.lengths == {1024: 3 * 2 * 16}  # the count leaves out Phi 0

    def test_the_floor_takes_the_fastest_ways_and_adds_up(self, lte):
        from bench_counts import BYTE, floor

        count = lte.na_alista(16, 64, 2)
        seconds = {unit: unit.flops * 1e-10 for unit in count.units} | {BYTE: 0.0}
        work, chosen = count.fastest(seconds)
        assert set(chosen.values()) == {"pruned"}
        network = 2 * 16 * (512 + 64 * 256 + 64 * 64 + 128)
        assert floor(work, seconds) == pytest.approx(1e-10 * (network + 31 * 4 * 5 * 256 * log2(256)))
        dear_memory = seconds | {BYTE: 1e-6}
        assert set(count.fastest(dear_memory)[1].values()) == {"dense"}


class TestLaps:
    def test_medians_and_what_the_first_lap_returned(self, tools):
        from bench_laps import alternating

        medians, returned = alternating({"a": lambda: 1, "b": lambda: 2}, CPU, laps=3, most_seconds=1.0, keep=["b"])
        assert returned == {"b": 2}
        assert all(0 < seconds < 1e-3 for seconds in medians.values())

    def test_what_is_slow_runs_once(self, tools):
        from bench_laps import alternating

        calls = []
        medians, _ = alternating({"slow": lambda: calls.append(0)}, CPU, laps=5, most_seconds=0.0)
        assert len(calls) == 1
        assert medians["slow"] > 0

    def test_ceilings_do_what_they_say(self, tools):
        from bench_counts import Unit
        from bench_laps import ceiling_runs

        for unit in (Unit("fft", (16,)), Unit("cholesky", (5,)), Unit("inverse", (5,)), Unit("product", (2, 3, 4))):
            runs, amount = ceiling_runs(unit, 7, CPU)
            assert amount == 7
            results = [run() for run in runs]
            first = results[0][0] if unit.kind == "cholesky" else results[0]
            assert first.shape[0] == (14 if unit.kind == "product" else 7)
            assert bool(torch.isfinite(torch.view_as_real(first) if first.is_complex() else first).all())
        assert ceiling_runs(Unit("byte"), 512, CPU)[1] == 2 * 8 * 512 * 256


class TestContenders:
    @pytest.mark.parametrize("name", ["na-alista", "alista", "na-sbl", "omp"])
    def test_all_ways_give_the_same_estimates(self, tools, name):
        from bench_contenders import contenders, make_data
        from bench_estimators import deviations

        with torch.inference_mode():
            ways = contenders(name, make_data(4, CPU))
            found = deviations(ways, {way: contender.run() for way, contender in ways.items()})
        assert len(found) >= 2
        assert max(found.values()) < 1e-3

    def test_scikit_learn_explains_the_pilots_up_to_the_noise(self, tools):
        pytest.importorskip("sklearn")
        from bench_contenders import contenders, make_data

        data = make_data(4, CPU)
        x = contenders("omp", data)["scikit-learn"].run().to(torch.complex64)
        residual = data.observations / 75**0.5 - data.phi.forward(x)
        assert bool((residual.abs().square().sum(-1) <= data.noise_variance * 1.001).all())
        assert bool((x != 0).any(-1).all())

    def test_sionnas_lmmse_gets_the_pilots_and_the_profile(self, tools):
        pytest.importorskip("sionna")
        from bench_contenders import contenders, make_data

        data = make_data(4, CPU)
        found = contenders("lmmse-true", data)["sionna"].run()
        profile = pick_model("lmmse-true", data.scenario).algorithm
        at_pilots, at_all = (
            torch.exp(-2j * torch.pi * torch.outer(torch.as_tensor(k).double(), profile.delays) / 1024)
            for k in (data.pattern.subcarriers, data.scenario.used_subcarriers)
        )
        pilots = (at_pilots * profile.powers) @ at_pilots.mH + 0.1 * torch.eye(75)
        cross = (at_all * profile.powers) @ at_pilots.mH
        expected = (cross @ torch.linalg.solve(pilots, data.observations.to(torch.complex128).mT)).mT
        assert relative(found, expected) < 1e-3

    def test_a_part_of_the_data_is_the_same_data(self, tools):
        from bench_contenders import make_data

        data = make_data(6, CPU)
        assert torch.equal(data.first(2, 3).y, data.y[3:5])
        assert data.first(2).scale.shape == (2, 1)
        assert data.first(9) is data


class TestTraining:
    def test_both_take_the_same_steps(self, tools):
        from bench_training import Training

        training = Training(16, CPU)
        before = training.losses()
        assert before[0] == pytest.approx(before[1], rel=1e-5)
        for _ in range(3):
            training.our_step()
            training.textbook_step()
        start = dict(load_model("na-alista-lte10-m75").algorithm.named_parameters())
        ours = dict(training.algorithm.named_parameters())
        moved, as_far = (
            torch.cat(
                [
                    (of[name] - start[name]).detach().flatten()
                    for name, _ in training.textbook.network.named_parameters()
                ]
            )
            for of in (ours, dict(training.textbook.network.named_parameters()))
        )
        assert relative(as_far, moved) < 0.01

    def test_bytes_kept_for_backward(self, tools):
        from bench_training import saved_bytes

        w = torch.ones(1000, requires_grad=True)
        assert saved_bytes(lambda: (w + 1).exp().sum()) == 4000
        assert saved_bytes(lambda: (w + 1).sum()) == 0


def test_a_tiny_run(tools, tmp_path, monkeypatch, capsys):
    import bench_estimators

    file = tmp_path / "bench.json"
    options = ["--batches", "1,2", "--threads", "1", "--laps", "1", "--estimators", "na-alista,na-sbl,omp"]
    monkeypatch.setattr("sys.argv", ["bench", *options, "--training-batch", "8", "--json", str(file)])
    threads = torch.get_num_threads()
    bench_estimators.main()
    assert torch.get_num_threads() == threads
    printed = capsys.readouterr().out
    assert "batch 2, 1 thread" in printed
    assert "Targets" in printed
    result = json.loads(file.read_text())
    assert [one["batch"] for one in result["results"]] == [1, 2]
    for one in result["results"]:
        for name in ("na-alista", "na-sbl", "omp"):
            row = one["floors"][name]
            assert 0 < row["best_floor_seconds"] <= row["floor_seconds"] * (1 + 1e-9)
            assert row["floor_seconds"] == pytest.approx(sum(row["floor_by_kind"].values()))
            assert row["floor_share"] == pytest.approx(row["floor_seconds"] / one["seconds"][name]["chanest"])
    assert set(result["nmse_db"]["na-alista"]) == {"chanest", "Model.estimate", "dense", "textbook"}
    assert result["training"][0]["times_textbook"] > 0
    with pytest.raises(SystemExit):
        bench_estimators.parse(["--json", str(file)])
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench_estimators.parse(["--estimators", "lasso"])


def test_peers_that_are_not_installed_are_named(tools, monkeypatch):
    import bench_contenders

    monkeypatch.setattr(bench_contenders, "package", lambda name: None)
    lines = bench_contenders.skipped(["omp", "lmmse-true"], CPU)
    assert ["scikit-learn" in lines[0], "Sionna" in lines[1], len(lines)] == [True, True, 2]
    assert bench_contenders.skipped(["na-alista"], CPU) == []
    data = bench_contenders.make_data(1, CPU)
    assert sorted(bench_contenders.contenders("omp", data)) == ["Model.estimate", "chanest", "dense"]
    assert sorted(bench_contenders.contenders("lmmse-true", data)) == ["Model.estimate", "chanest"]


def test_targets_are_judged(tools):
    from bench_report import print_results, targets

    ways = {"chanest": 1e-4, "textbook": 9e-4, "Model.estimate": 2e-4}
    floor = {"floor_share": 0.3, "best_floor_share": 0.2, "floor_seconds": 3e-5, "best_floor_seconds": 2e-5}
    floor |= {"floor_by_kind": {"fft": 3e-5}, "flops": 1e6, "chosen": {}}
    work = {"cholesky 75": 6.0, "inverse 75": 5.0, "byte": 1e3}
    matrices = {"seconds": 1e-5, "flops_per_second": 1e9}
    one = {
        "threads": 1,
        "seconds": {"na-alista": ways, "na-sbl": ways},
        "floors": {"na-alista": {**floor, "work": work}, "na-sbl": {**floor, "work": work}},
        "deviation": {"na-alista": {"chanest": 1e-7}, "na-sbl": {"chanest": 1e-7}},
        "estimates_timed": {name: {way: 1 for way in ways} for name in ("na-alista", "na-sbl")},
        "ceilings": {"cholesky 75": matrices, "inverse 75": matrices},
    }
    nmse = {way: -16.0 for way in ways}
    result = {
        "machine": {"device": "cpu", "load_before": 0.7},
        "nmse_db": {"na-alista": {**nmse, "chanest": -15.9}, "na-sbl": nmse},
        "results": [{**one, "batch": 1}, {**one, "batch": 512}],
        "training": [],
    }
    assert [(target.measured, target.met) for target in targets(result)] == [
        ("9.00", True),
        ("0.100 dB", False),
        ("30% (20% of the best floor)", False),
        ("9.00", True),
        ("100 (best floor 20)", True),
        ("0.10", True),
        ("0.83 of 6 + 6 (0.91 of 6 + 5)", True),
    ]
    text = io.StringIO()
    print_results(result, Console(file=text, width=150))
    assert "NO" in text.getvalue()
    assert "busy" in text.getvalue()
    nothing = targets({**result, "results": []})
    assert [target.met for target in nothing] == [None] * 7
