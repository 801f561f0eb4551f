"""The paper's figures from our own runs: points, the published table, the bench, what the command line writes."""

import csv
import importlib
import math
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import Ran

from chanest import Model, load_scenario
from chanest.algorithms import ALGORITHMS, NAALISTA
from chanest.cli.reproduce import FIGURES
from chanest.errors import ChanestError, FileError
from chanest.evaluation.plots import draw_charts
from chanest.files.atomic import write_csv
from chanest.models import read_model
from chanest.reproduction import figures as illustrations
from chanest.reproduction import iterations as course
from chanest.reproduction import runner as reproduce
from chanest.reproduction.charts import charts
from chanest.reproduction.figures import ILLUSTRATIONS
from chanest.reproduction.points import KEY, NMSE_FIGURES, Point, panels
from chanest.reproduction.published import Distance, distances, read_published, read_results, summary
from chanest.reproduction.recipes import RECIPES, Recipe, made, ordered, recipe_of, ridge_of, scenario_of
from chanest.reproduction.runner import FEWEST_STEPS, Bench
from chanest.training import TrainingSettings, train

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
OFDM = {"n_taps": 256, "n_pilots": 75, "sparsity": 8, "snr_db": 10}
TWO = [Point("ofdm", "alista", **OFDM, n_iterations=k) for k in (1, 2)]


def points_of(figure: str) -> list[Point]:
    return [point for panel in panels(figure) for point in panel.points]


def write_published(
    path: Path, keys: Iterable[tuple[str, ...]], nmse: float = -5.0, column: str = "best_nmse_db"
) -> Path:
    """A table such as the published one, the same NMSE everywhere."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*KEY, "epochs", column])
        writer.writerows([*key, 100, nmse] for key in keys)
    return path


# points -----------------------------------------------------------------------------------------------------


def test_every_figure_has_as_many_points_as_the_paper():
    assert [len(panel.points) for panel in panels("13")] == [6 * 13, 6 * 13]
    sizes = {figure: len(set(points_of(figure))) for figure in NMSE_FIGURES}
    assert sizes == {"3": 180, "4": 108, "5": 15, "7": 4, "10": 78, "11": 540, "13": 156, "table1": 15, "others": 225}
    with pytest.raises(ChanestError, match=r"figure: expected one of 3, 4, .* got 6"):
        panels("6")


@pytest.mark.parametrize("figure", ["3", "4", "5", "7", "10", "11", "13"])
def test_every_point_is_found_in_a_published_table(tmp_path, figure):
    grid = [
        (setting, algorithm, *lstm, str(n), str(m), str(s), str(snr), str(k))
        for setting, sizes, counts, s, snrs in (
            ("synthetic", range(500, 2501, 250), (250,), 50, (20, 40)),
            ("ofdm", (256,), (50, 75, 100), 8, (10,)),
        )
        for algorithm in ("ista", "fista", "alista", "alista-at", "aglista", "na-alista")
        for lstm in ([("r,u", str(h)) for h in (16, 32, 64, 128, 256)] if algorithm == "na-alista" else [("", "")])
        for n in sizes
        for m in counts
        for snr in snrs
        for k in (1, *range(2, 29, 2))
    ]
    published = read_published(write_published(tmp_path / "p.csv", grid))
    assert {point.key for point in points_of(figure)} <= published.keys()


def test_every_point_can_be_made():
    for point in dict.fromkeys(point for figure in NMSE_FIGURES for point in points_of(figure)):
        scenario = scenario_of(point)
        assert scenario.snr_db == point.snr_db
        if "alista" in point.algorithm and point.n_iterations in (1, 16):
            assert made(point).n_iterations == point.n_iterations


def test_curves_are_named_by_what_differs():
    curves = {point.curve for point in points_of("table1")}
    assert curves == {"na-alista r", "na-alista", "na-alista u", "na-alista-mlp", "na-alista-rnn"}


@pytest.mark.parametrize("figure", ["4", "5", "11", "13", "others"])
def test_every_point_starts_from_its_neighbour_on_the_way_to_the_trunk(figure):
    points = points_of(figure)
    chain = ordered([*points, *points])
    assert len(chain) == len(set(points))
    done: set[Point] = set()
    sizes = sorted({point.n_taps for point in points})
    for point, start in chain:
        k, curve = point.n_iterations, [other.n_iterations for other in done if other.key[:-1] == point.key[:-1]]
        beside = [n for n in sizes if n != point.n_taps and replace(point, n_taps=n) in done and k > 1]
        if not ALGORITHMS[point.algorithm].learned:
            assert start is None
        elif recipe_of(point).trunk == 1 and beside:
            assert start == replace(point, n_taps=min(beside, key=lambda n: abs(math.log(n / point.n_taps))))
        elif curve:
            trunk = recipe_of(point).trunk
            towards = [other for other in curve if min(k, trunk) <= other <= max(k, trunk)]
            assert start is not None
            assert start.key[:-1] == point.key[:-1]
            assert abs(start.n_iterations - k) == min(abs(other - k) for other in towards)
        elif start is not None:
            alike = ("algorithm", "lstm_inputs", "lstm_hidden", "n_pilots", "sparsity", "n_iterations")
            assert all(getattr(start, name) == getattr(point, name) for name in alike)
        assert start is None or start in done
        done.add(point)


def test_a_part_of_a_figure_starts_from_what_is_known():
    twenty = [point for point in points_of("11") if point.snr_db == 20 and point.algorithm == "na-alista"]
    forty = {replace(point, snr_db=40) for point in twenty}
    alone, known = dict(ordered(twenty)), dict(ordered(twenty, forty.__contains__))
    first = next(point for point in twenty if (point.n_taps, point.n_iterations) == (500, 16))
    assert alone.keys() == known.keys() == set(twenty)
    assert alone[first] == replace(first, n_taps=1000)
    assert known[first] == replace(first, snr_db=40)
    few = [replace(first, n_iterations=k) for k in (6, 28)]
    assert dict(ordered(few)) == {few[0]: None, few[1]: None}  # made for 6, it serves no 28
    many = [replace(first, n_iterations=k) for k in (4, 22)]
    assert dict(ordered(many)) == {many[1]: None, many[0]: many[1]}


def test_curves_start_from_the_nearest_one():
    chain = dict(ordered(points_of("4")))
    sizes = {(p.n_taps, p.snr_db): s and (s.n_taps, s.snr_db) for p, s in chain.items() if p.algorithm == "na-alista"}
    assert sizes[1000, 40] is None
    assert sizes[1250, 40] == (1000, 40)
    assert sizes[2500, 40] == (2250, 40)
    assert sizes[500, 40] == (750, 40)
    assert sizes[500, 20] == (500, 40)


# the published table ----------------------------------------------------------------------------------------


def test_distances_put_the_worst_first_and_count_what_was_reached(tmp_path):
    keys = [Point("ofdm", "alista", **OFDM, n_iterations=k).key for k in (1, 2, 4, 6)]
    published = read_published(write_published(tmp_path / "p.csv", keys))
    results = tmp_path / "r.csv"
    for key, nmse in zip(keys, (-4.6, -4.4, math.nan), strict=False):
        write_published(results.with_stem(f"r{key[-1]}"), [key], nmse, "nmse_db")
    rows = read_results(sorted(tmp_path.glob("r*.csv")))
    found = distances(published, rows)
    assert [distance.key[-1] for distance in found] == ["4", "6", "2", "1"]
    assert summary(found) == "1 of 4 published points within 0.5 dB or better\n3 run"
    assert [d.key for d in distances(published, rows, [keys[1], keys[1], ("unheard of",)])] == [keys[1]]
    assert summary([Distance(("a",), -5, -9), Distance(("b",), -5, -4.5)]).startswith("2 of 2 ")
    assert distances(published, rows, []) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "column setting: missing; expected setting, algorithm"),
        (",".join(KEY) + "\n", "column best_nmse_db: missing"),
        (
            ",".join([*KEY, "best_nmse_db"]) + "\n" + "x," * len(KEY) + "low\n",
            "expected an NMSE in dB in every row, found 'low'",
        ),
        (",".join([*KEY, "best_nmse_db"]) + "\nofdm,alista\n", "expected an NMSE in dB in every row, found ''"),
        ("\xff\xfe", "cannot be read as CSV"),
        (None, "cannot be read as CSV"),
    ],
)
def test_a_damaged_table_is_one_clear_error(tmp_path, text, complaint):
    path = tmp_path / "p.csv"
    if text is not None:
        path.write_bytes(text.encode("latin1"))
    with pytest.raises(FileError, match=rf"p\.csv: {complaint}"):
        read_published(path)


# the bench --------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path, monkeypatch) -> Bench:
    """A bench whose recipes have three steps."""
    for setting, recipes in RECIPES.items():
        tiny = {name: Recipe(recipe.learning_rate, 3, 16, trunk=recipe.trunk) for name, recipe in recipes.items()}
        monkeypatch.setitem(RECIPES, setting, tiny)
    return Bench(tmp_path / "cache", CPU, n_samples=64)


def never(*_, **__):
    raise AssertionError("trained again")


def test_a_point_is_trained_once(bench, monkeypatch):
    said = []
    told = Bench(bench.cache, CPU, 64, progress=lambda point, *numbers: said.append((point, numbers[:2])))
    row = told.measure(TWO[0])
    assert said == [(TWO[0], (step, 3)) for step in (1, 2, 3)]
    assert set(row) == set(reproduce.COLUMNS)
    assert (row["steps"], row["batch_size"], row["warm_start"], row["n_samples"]) == (3, 16, None, 64)
    assert -30 < row["nmse_db"] < 3
    files = {path.name: path.read_bytes() for path in bench.cache.iterdir()}
    monkeypatch.setattr(reproduce, "train", never)
    assert bench.measure(TWO[0]) == row
    assert {path.name: path.read_bytes() for path in bench.cache.iterdir()} == files
    with pytest.raises(AssertionError, match="trained again"):
        Bench(bench.cache, CPU, 64, seed=1).measure(TWO[0])


def test_the_next_k_starts_from_the_model_before(bench, monkeypatch):
    bench.measure(TWO[0])
    (before,) = bench.cache.glob("*.h5")
    seen = {}

    def recorded(algorithm, *arguments, **named):
        seen.update(first=algorithm.log_threshold.tolist(), warm=named["warm"])
        return train(algorithm, *arguments, **named)

    monkeypatch.setattr(reproduce, "train", recorded)
    row = bench.measure(TWO[1], TWO[0])
    old = read_model(before)[0].log_threshold.tolist()
    assert seen == {"first": old * 2, "warm": True}
    assert row["warm_start"] == "1"
    assert len(list(bench.cache.glob("*.h5"))) == 2


def test_a_model_of_another_recipe_seed_or_start_is_not_taken(bench, monkeypatch):
    bench.measure(TWO[0])
    row = bench.measure(TWO[1], TWO[0])
    measured = reproduce.train
    monkeypatch.setattr(reproduce, "train", never)
    assert bench.measure(TWO[1], TWO[0]) == row
    with pytest.raises(AssertionError, match="trained again"):
        Bench(bench.cache, CPU, 64, seed=1).measure(TWO[1], TWO[0])
    with pytest.raises(AssertionError, match="trained again"):
        bench.measure(TWO[1])
    monkeypatch.setitem(RECIPES["ofdm"], "alista", replace(RECIPES["ofdm"]["alista"], learning_rate=1e-4))
    with pytest.raises(AssertionError, match="trained again"):
        bench.measure(TWO[1], TWO[0])
    monkeypatch.setattr(reproduce, "train", measured)
    assert bench.measure(TWO[1], TWO[0])["learning_rate"] == 1e-4


def test_the_course_of_training_is_that_from_its_beginning(bench):
    assert bench.history(TWO[0]) == []
    bench.measure(TWO[0])
    bench.measure(TWO[1], TWO[0])
    assert bench.has(TWO[1])
    assert not (bench.cache / bench._note(TWO[1], anew=True)).exists()
    bench.measure(TWO[1])
    assert read_model(bench.cache / bench._note(TWO[1], anew=True).read_text())[2]["steps"] == 3
    assert bench._last(TWO[1]).name == bench._note(TWO[1], anew=False).read_text()  # others still start from this one


def test_a_damaged_note_is_no_note(bench):
    row = bench.measure(TWO[0])
    for note in bench.cache.glob("*.txt"):
        note.write_text("")
    assert not bench.has(TWO[0])
    assert bench.measure(TWO[0]) == row


def test_a_network_for_many_iterations_serves_fewer_and_other_sizes(bench):
    sixteen = Point("synthetic", "na-alista", lstm_inputs="r,u", lstm_hidden=8, n_pilots=20, n_taps=40, sparsity=4)
    eight = replace(sixteen, n_iterations=8)
    bench.measure(sixteen)
    assert bench.measure(eight, sixteen)["warm_start"] == "16"
    noisy = replace(eight, n_taps=50, snr_db=20)
    assert bench.measure(noisy, eight)["warm_start"] == "8 of n_taps=40 snr_db=40"
    assert (ridge_of(sixteen), ridge_of(noisy)) == (0.1, 1.0)


def test_what_was_trained_for_another_matrix_keeps_its_own_ridge(bench):
    before = Point("synthetic", "alista", n_iterations=2, n_taps=40, n_pilots=20, sparsity=4)
    after = replace(before, snr_db=20)
    bench.measure(before)
    bench.measure(after, before)
    ridges = {read_model(path)[0].ridge for path in bench.cache.glob("*.h5")}
    assert ridges == {ridge_of(before), ridge_of(after)}
    assert len(ridges) == 2


def test_a_budget_gives_fewer_steps_but_some(bench, monkeypatch):
    recipe = Recipe(1e-2, 10**6, 16)
    monkeypatch.setitem(RECIPES["ofdm"], "alista", recipe)
    assert bench.measure(TWO[0], seconds=1e-6)["steps"] == FEWEST_STEPS
    clock = count(step=0.01)  # seconds; a lap takes one of it, however busy the machine
    monkeypatch.setattr(reproduce, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    afforded, batch_size = bench._affordable(made(TWO[0]), scenario_of(TWO[0]), (recipe.steps, 16), 5)
    assert afforded == pytest.approx(500, abs=1)
    assert batch_size == 16


# chanest reproduce ------------------------------------------------------------------------------------------

FISTA = ("--algorithms", "fista", "--iterations", "1,2", "--samples", 128)


def test_a_figure_is_measured_drawn_and_continued(tmp_path, chanest, monkeypatch):
    published = write_published(tmp_path / "p.csv", [point.key for point in points_of("13")], nmse=-1.0)
    options = ("reproduce", 13, *FISTA, "--output", tmp_path / "out", "--published", published)
    ran = chanest(*options)
    assert (ran.code, ran.err) == (0, "")
    assert "4 of 4 published points within 0.5 dB or better\n4 run\n" in ran.out
    assert "M = 75" in ran.out
    table = tmp_path / "out" / "figure13.csv"
    before = table.read_bytes()
    rows = read_results([table])
    assert [(row["n_pilots"], row["n_iterations"]) for row in rows] == [
        ("100", "1"),
        ("100", "2"),
        ("75", "1"),
        ("75", "2"),
    ]
    for suffix, start in ((".png", b"\x89PNG"), (".pdf", b"%PDF")):
        assert table.with_suffix(suffix).read_bytes().startswith(start)
    monkeypatch.setattr(Bench, "measure", never)
    again = chanest(*options)
    assert (again.code, again.out) == (0, ran.out)
    assert table.read_bytes() == before
    bare = chanest(*options[:-2])
    assert "within" not in bare.out
    refused = chanest(*options[:-2], "--seed", 1)
    assert (refused.code, refused.out) == (2, "")
    assert "seed: made with 0, asked for 1" in refused.err


def test_a_learned_curve_is_trained_within_a_budget(tmp_path, chanest, bench):
    cache = tmp_path / "models"
    options = ("--algorithms", "alista", "--iterations", "1,2", "--samples", 64, "--budget", 1, "--cache", cache)
    ran = chanest("reproduce", 10, *options, "--output", tmp_path)
    assert (ran.code, ran.err) == (0, "")
    rows = read_results([tmp_path / "figure10.csv"])
    assert [(row["warm_start"], row["learning_rate"]) for row in rows] == [("", "0.03"), ("1", "0.03")]
    assert len(list(cache.glob("*.h5"))) == 2


def test_a_part_of_a_figure_is_measured_alone(tmp_path, chanest):
    options = ("--algorithms", "ista,fista", "--coefficients", 500, "--snr", "20", "--iterations", 1, "--samples", 64)
    assert chanest("reproduce", 11, "--output", tmp_path, *options).code == 0
    rows = list(csv.DictReader((tmp_path / "figure11.csv").read_text().splitlines()))
    found = {(row["algorithm"], row["n_taps"], row["snr_db"], row["n_iterations"]) for row in rows}
    assert found == {("ista", "500", "20", "1"), ("fista", "500", "20", "1")}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("99", "FIGURE: expected one of 1, 2, .* table1, others, got 99"),
        ("13 --budget 0", "--budget: expected minutes, more than 0, got 0"),
        ("13 --samples 0", "--samples: expected 1...10000000, got 0"),
        ("13 --published absent.csv", r"absent\.csv: cannot be read as CSV"),
        ("13 --algorithms nonsense", "--algorithms: expected some of aglista, .* got nonsense"),
        ("7 --algorithms ista", "--algorithms: expected some of aglista, alista, alista-at, na-alista, got ista"),
        ("13 --iterations 3", "--iterations: expected some of 1, 2, 4, .* got 3"),
        ("11 --coefficients 1500", "--coefficients: expected some of 500, 1000, 2000, got 1500"),
        ("11 --snr 30", "--snr: expected some of 20, 40, got 30"),
        ("4 --coefficients 500 --iterations 26 --snr 40,30", "--snr: expected some of 20, 40, got 30"),
        ("9 --output there", "there/figure9.png: exists already"),
        ("9 --output taken.csv", r"taken\.csv: cannot be a folder"),
    ],
)
def test_what_cannot_be_asked_is_one_line(tmp_path, chanest, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    Path("taken.csv").touch()
    Path("there").mkdir()
    Path("there/figure9.png").write_text("precious")
    ran = chanest("reproduce", *arguments.split())
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert re.search(complaint, ran.err)
    assert Path("there/figure9.png").read_text() == "precious"


# the tool ---------------------------------------------------------------------------------------------------


@pytest.fixture
def compared(monkeypatch, capsys):
    """A function that runs the tool with some arguments in this process: exit code, stdout, stderr."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    tool = importlib.import_module("compare_published")

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["compare_published", *map(str, arguments)])
        try:
            tool.main()
        except SystemExit as exit:
            return Ran(int(exit.code or 0), *capsys.readouterr())
        return Ran(0, *capsys.readouterr())

    return run


def test_the_tool_counts_what_was_asked_for(tmp_path, compared):
    elsewhere = Point("ofdm", "ista", **{**OFDM, "n_pilots": 50}, n_iterations=1)
    keys = [point.key for point in (*points_of("13"), elsewhere)]
    published = write_published(tmp_path / "p.csv", keys, -5.0)
    results = write_published(tmp_path / "r.csv", [TWO[0].key], -4.6, "nmse_db")
    more = write_published(tmp_path / "s.csv", [TWO[1].key], -3.0, "nmse_db")
    ran = compared(results, more, "--published", published, "--show", 3)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("figures: 13\n1 of 156 published points within 0.5 dB or better\n2 run\n")
    table = ran.out[: ran.out.index("figures")]
    assert table.index("+2.00") < table.index("+0.40") < table.index("not run")
    assert table.count("-5.00") == 3
    ran = compared(results, "--published", published, "--all", "--show", 0)
    assert ran.out == "every published point\n1 of 157 published points within 0.5 dB or better\n1 run\n"
    ran = compared(results, "--published", published, "--figures", "10", "--show", 0)
    assert ran.out == "figures: 10\n0 of 78 published points within 0.5 dB or better\n0 run\n"


def test_the_tool_runs_as_a_process_of_its_own(tmp_path):
    published = write_published(tmp_path / "p.csv", [TWO[0].key])
    command = [sys.executable, ROOT / "tools/compare_published.py", "--published", published]
    results = write_published(tmp_path / "r.csv", [TWO[0].key], column="nmse_db")
    ran = subprocess.run([*command, results, "--all"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("1 of 1 published points within 0.5 dB or better\n1 run\n")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("r.csv --published absent.csv", "absent.csv: cannot be read as CSV"),
        ("absent.csv --published p.csv", "absent.csv: cannot be read as CSV"),
        ("r.csv --published p.csv --figures 99", "figure: expected one of 3, 4"),
        ("r.csv --published p.csv --show -1", "--show: expected 0 or more rows, got -1"),
        ("p.csv --published p.csv", "column nmse_db: missing"),
    ],
)
def test_the_tool_says_in_one_line_what_is_wrong(tmp_path, monkeypatch, compared, options, complaint):
    monkeypatch.chdir(tmp_path)
    write_published(Path("p.csv"), [TWO[0].key])
    write_published(Path("r.csv"), [TWO[0].key], column="nmse_db")
    ran = compared(*options.split())
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("compare_published: error: ")
    assert complaint in ran.err


# figures that show no NMSE ----------------------------------------------------------------------------------


def test_figure_1_tells_sparse_from_dense(tmp_path, chanest):
    ran = chanest("reproduce", 1, "--output", tmp_path, "--device", "cpu")
    assert (ran.code, ran.err) == (0, "")
    assert "15 entries of 1000: 0.9" in ran.out
    with (tmp_path / "figure1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sparsity", "l1", "r", "u"]
    assert len(rows) == 2000
    assert all((tmp_path / f"figure1.{suffix}").stat().st_size > 10_000 for suffix in ("png", "pdf"))


def test_figure_9_is_written_once_and_replaced_when_forced(tmp_path, chanest):
    options = ("reproduce", 9, "--output", tmp_path, "--device", "cpu")
    ran = chanest(*options)
    assert (ran.code, ran.err) == (0, "")
    assert "8 taps of 256; 50 pilots" in ran.out
    before = (tmp_path / "figure9.csv").read_bytes()
    refused = chanest(*options, "--seed", 1)
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert "exists already" in refused.err
    assert chanest(*options, "--seed", 1, "--force").code == 0
    assert (tmp_path / "figure9.csv").read_bytes() != before
    assert chanest(*options, "--force").code == 0
    assert (tmp_path / "figure9.csv").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A small NA-ALISTA, hardly trained, and its course over 600 vectors."""
    scenario = load_scenario("synthetic").replace(n_measurements=40, n_coefficients=80, sparsity=4)
    algorithm = NAALISTA(4, lstm_hidden=8, sparsity=4, ridge=1e-6, schedule="synthetic")
    settings = TrainingSettings(steps=30, batch_size=64, learning_rate=1e-2, calibration_batches=0)
    model = train(algorithm, scenario, settings, tmp_path_factory.mktemp("models") / "na.h5")
    return model, course.follow(model, 600, seed=0, device=CPU)


def test_a_course_is_told_in_the_units_of_x(followed):
    model, found = followed
    assert found.errors.shape == (17, 600)
    assert all(part.shape == (16, 600) for part in (found.u, found.u_without_noise, found.step_sizes, found.thresholds))
    scenario = model.scenario
    phi = scenario.sensing(0)
    vectors = next(scenario.simulate(phi, 8, 0))
    torch.testing.assert_close(found.errors[0, :8], vectors.truth["x"].abs().sum(-1))
    for scale in (1.0, 100.0):
        recovery = model.recover(scale * vectors.observations, phi, n_iterations=16, record=True)
        norms = torch.linalg.vector_norm(vectors.observations, dim=-1)
        torch.testing.assert_close(found.thresholds[:, :8], recovery.thresholds * norms, rtol=1e-3, atol=1e-6)
        error = (recovery.x / scale - vectors.truth["x"]).abs().sum(-1)
        torch.testing.assert_close(found.errors[-1, :8], error, rtol=1e-3, atol=1e-5)
    w = model.algorithm.weights(phi)
    torch.testing.assert_close(found.u[0, :8], w.adjoint(vectors.observations).abs().sum(-1), rtol=1e-4, atol=1e-4)


def test_figures_2_6_and_8_come_from_a_course(followed, tmp_path):
    _, found = followed
    pairs, steps, bound = course.memory(found), course.predictions(found), course.assumption(found)
    assert list(dict.fromkeys((row["i"], row["j"]) for row in pairs.rows)) == [(0, 1), (5, 6), (14, 15), (5, 8)]
    assert "(5, 8): " in pairs.facts
    assert course.spearman(found.u[5], found.errors[6]) > 0.5
    assert [row["iteration"] for row in steps.rows] == list(range(1, 17))
    for row in steps.rows:
        assert 0 < row["threshold_5"] <= row["threshold_95"]
        assert 0 < row["step_size_5"] <= row["step_size_mean"] <= row["step_size_95"]
    assert [row["k"] for row in bound.rows] == list(range(16))
    assert bound.rows[0]["error_mean"] == pytest.approx(float(found.errors[0].mean()))
    for figure, shown in (("2", pairs), ("6", steps), ("8", bound)):
        write_csv(tmp_path / f"{figure}.csv", list(shown.rows[0]), shown.rows)
        draw_charts(tmp_path / f"{figure}.pdf", figure, charts(figure, shown.rows))
    assert len(list(tmp_path.iterdir())) == 6


def test_the_shipped_model_is_followed(followed, tmp_path, chanest, monkeypatch):
    model, _ = followed
    monkeypatch.setattr(illustrations, "pick_model", lambda *_: model)
    ran = chanest("reproduce", 2, "--output", tmp_path, "--device", "cpu")
    assert (ran.code, ran.err) == (0, "")
    assert "(14, 15): " in ran.out
    assert isinstance(model, Model)


def test_times_have_a_row_for_every_algorithm_and_size(tmp_path):
    made = illustrations.times(CPU, 0, sizes=(60, 90), measurements=(20, 30), batch=16, laps=2)
    assert len(made.rows) == 2 * 2 * 3
    for row in made.rows:
        assert (row["batch"], row["laps"], row["device"]) == (16, 2, "cpu")
        assert row["algorithm"] != "alista" or row["ratio_to_alista"] == 1
    assert made.facts.count("\n") == 5
    draw_charts(tmp_path / "12.png", "", charts("12", made.rows))


def test_a_figure_that_is_none_of_these_is_refused(tmp_path):
    with pytest.raises(ChanestError, match="figure: expected one of 1, 2, 6, 8, 9, 12, got 3"):
        illustrations.illustrate("3", tmp_path / "t.csv", [], CPU, 0)


def test_every_figure_of_the_command_is_drawn_by_somebody():
    assert sorted((*NMSE_FIGURES, *ILLUSTRATIONS)) == sorted(FIGURES)
