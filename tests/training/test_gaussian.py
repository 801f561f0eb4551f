"""Training in the synthetic setting: its batches, and models that start where others ended."""

import pytest
import torch
from small_gaussian import PHI, SMALL, TRAINING, alista, vectors

from chanest import load_model, nmse_db
from chanest.training import TrainingSettings, checkpoint_path, train, training_batch, validation_batch


def test_batches_keep_the_matrix_or_draw_new_ones():
    fixed = [training_batch(SMALL, 0, step, 16, 8, "cpu").phi.dense() for step in (-1, 0, 1)]
    fixed.append(validation_batch(SMALL, 0, 0, "cpu").phi.dense())
    assert all(torch.equal(phi, PHI.matrix) for phi in fixed)
    free = SMALL.replace(training={"snr_db": (20, 40), "fixed_matrix": False})
    drawn = [training_batch(free, 0, step, 16, 8, "cpu").phi.dense() for step in range(3)]
    drawn += [validation_batch(free, 0, index, "cpu").phi.dense() for index in range(3)]
    assert len({float(phi.sum()) for phi in drawn}) == 6


def test_a_batch_is_of_unit_norm_and_its_answer_in_the_units_of_x():
    batch = training_batch(SMALL, 0, 0, 16, 8, "cpu")
    torch.testing.assert_close(batch.y.norm(dim=-1), torch.ones(16))
    x = torch.linalg.lstsq(PHI.matrix.double(), batch.y.double().mT).solution.mT  # any x that explains y
    clean = batch.answer(x) @ PHI.matrix.double().mT
    truth = batch.truth.double() @ PHI.matrix.double().mT
    assert nmse_db(clean, truth) < -35  # the noise, at 40 dB


def test_twenty_steps_improve_and_the_file_round_trips(trained):
    path, nmse = trained
    assert sum(nmse[-5:]) / 5 < sum(nmse[:5]) / 5 - 3
    model = load_model(path)
    assert model.scenario == SMALL
    assert model.training["validation_nmse_db"] < nmse[0] - 3
    drawn = vectors(256)
    assert nmse_db(model.recover(drawn.observations, PHI).x, drawn.truth["x"]) < nmse[0] - 3


def parameters(path):
    return load_model(path).algorithm.state_dict()


def test_a_killed_training_resumes_to_the_same_bits(tmp_path, trained):
    path = tmp_path / "cut.h5"

    def killed(step, nmse, rate):
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(alista(), SMALL, TRAINING, path, progress=killed)
    assert checkpoint_path(path).exists()
    train(alista(), SMALL, TRAINING, path, resume=True)
    for name, tensor in parameters(trained[0]).items():
        assert torch.equal(parameters(path)[name], tensor), name


def test_a_warm_start_begins_where_the_other_ended(tmp_path, trained):
    """With a rate of next to nothing the first batch of the grown model is as good as the old one, and stays so."""
    old = load_model(trained[0])
    batch = training_batch(SMALL, 0, 0, 64, 8, "cpu")
    before = nmse_db(batch.answer(old.algorithm(batch.y, batch.phi).x), batch.truth)
    settings = TrainingSettings(steps=2, batch_size=64, learning_rate=1e-12)
    nmse = []
    algorithm = load_model(trained[0]).algorithm.grown(8)
    train(algorithm, SMALL, settings, tmp_path / "w.h5", warm=True, progress=lambda step, v, rate: nmse.append(v))
    assert nmse[0] == pytest.approx(before, abs=1e-3)
    for name, tensor in parameters(trained[0]).items():
        torch.testing.assert_close(parameters(tmp_path / "w.h5")[name], tensor)
    cold = []
    train(alista(), SMALL, settings, tmp_path / "c.h5", progress=lambda step, v, rate: cold.append(v))
    assert cold[0] > nmse[0] + 3


def test_a_killed_warm_start_resumes_to_the_same_bits(tmp_path, trained):
    settings = TrainingSettings(steps=9, batch_size=16, checkpoint_every=4)

    def grown():
        return load_model(trained[0]).algorithm.grown(10)

    def killed(step, nmse, rate):
        if step == 6:
            raise KeyboardInterrupt

    train(grown(), SMALL, settings, tmp_path / "whole.h5", warm=True)
    with pytest.raises(KeyboardInterrupt):
        train(grown(), SMALL, settings, tmp_path / "cut.h5", warm=True, progress=killed)
    train(grown(), SMALL, settings, tmp_path / "cut.h5", warm=True, resume=True)
    for name, tensor in parameters(tmp_path / "whole.h5").items():
        assert torch.equal(parameters(tmp_path / "cut.h5")[name], tensor), name
