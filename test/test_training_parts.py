"""The parts of the training: schedule, augmentation, first weights, objectives, signs of collapse, saved state."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defeat_ros.errors import ConfigError, FrameError, OutputError, TrainingError
from defeat_ros.geometry import disp_to_depth
from defeat_ros.losses import LossConfig, true_depth_loss
from defeat_ros.networks import DeFeatNet
from defeat_ros.training.augment import Batch, augment
from defeat_ros.training.collapse import PATIENCE, CollapseWatch
from defeat_ros.training.config import AugmentConfig, TrainConfig, load_train_config, parameters_yaml
from defeat_ros.training.initial import MOTION_GAIN, make_model, parameter_groups, set_modes
from defeat_ros.training.learner import Learner, motion_loss, velocity_loss
from defeat_ros.training.schedule import Schedule
from defeat_ros.training.state import check_same_run, load_state, save_state
from defeat_ros.warp import motion, support_from_target

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"size": [128, 128], "batch_size": 2}


def config(**overrides) -> TrainConfig:
    return load_train_config(None, {**SMALL, **overrides})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(frames: int = 3, size: int = 2, brightness: float = 1.0) -> Batch:
    """Smooth random images, a sensible camera, some truth."""
    torch.manual_seed(1)
    coarse = torch.rand(frames * size, 3, 16, 16)
    images = torch.nn.functional.interpolate(coarse, size=(128, 128), mode="bilinear").view(frames, size, 3, 128, 128)
    K = torch.tensor([[100.0, 0, 60], [0, 100, 64], [0, 0, 1]]).repeat(size, 1, 1)
    depth = torch.rand(size, 1, 128, 128) * 20 + 2
    moved = motion(torch.rand(2 * size, 3) * 0.1, torch.rand(2 * size, 3)).view(2, size, 4, 4)
    tracks = torch.rand(2, size, 20, 4) * 100
    return Batch(images * brightness, images * brightness, K, depth, moved, tracks)


class TestConfig:
    def test_the_shipped_file_is_what_the_code_says(self):
        text = (ROOT / "config" / "train.yaml").read_text(encoding="utf-8")
        assert text == parameters_yaml(), "run: python -m defeat_ros.training.config > config/train.yaml"
        assert load_train_config(ROOT / "config" / "train.yaml", {}) == TrainConfig()

    @pytest.mark.parametrize(
        ("given", "error", "match"),
        [
            ({"size": [100, 64]}, FrameError, "100x64"),
            ({"size": [64, 64]}, FrameError, "at least 128"),
            ({"objective.photometric": 0}, ConfigError, "nothing to learn"),
            ({"objective.photometric": 0, "objective.truth": 1, "objective.velocity": 1}, ConfigError, "velocity"),
            ({"objective.photometric": 0, "objective.velocity": 1}, ConfigError, "velocity"),
            ({"data.twins": True}, ConfigError, "truth_features"),
            (
                {"objective.photometric": 0, "objective.truth_motion": 1, "loss.translation": "inverse_depth"},
                ConfigError,
                "depth learned beside",
            ),
            ({"frozen": ["head"]}, ConfigError, "head"),
            ({"learning_rat": 1}, ConfigError, "did you mean 'learning_rate'"),
            ({"loss.margins": ["a"]}, ConfigError, "margins"),
        ],
    )
    def test_bad_values_are_quoted(self, given, error, match):
        with pytest.raises(error, match=match):
            load_train_config(None, given)

    def test_a_file_that_is_no_yaml(self, tmp_path):
        file = tmp_path / "train.yaml"
        file.write_text("a: [")
        with pytest.raises(ConfigError, match="not YAML"):
            load_train_config(file, {})
        with pytest.raises(ConfigError, match="No such file"):
            load_train_config(tmp_path / "absent.yaml", {})


class TestSchedule:
    @given(st.integers(0, 2000), st.integers(1, 2000), st.integers(0, 300))
    def test_rate_is_positive_and_never_above_the_peak(self, step, steps, warmup):
        schedule = Schedule(1e-3, warmup, steps, 0.0)
        assert 0 < schedule.rate(step, 0.0) <= 1e-3
        assert schedule.done(step, 0.0) == (step >= steps)

    def test_time_ends_a_run_too_and_whichever_comes_first_counts(self):
        schedule = Schedule(1.0, 0, 100, 60.0)
        assert schedule.progress(10, 30.0) == 0.5 and schedule.progress(80, 30.0) == 0.8
        assert schedule.done(1, 60.0) and not schedule.done(1, 59.0)
        assert schedule.rate(0, 0.0) == pytest.approx(1.0)
        assert schedule.rate(100, 0.0) == pytest.approx(0.02)

    def test_warm_up_rises(self):
        rates = [Schedule(1.0, 10, 1000, 0.0).rate(step, 0.0) for step in range(11)]
        assert rates == sorted(rates) and rates[0] == pytest.approx(1 / 11, rel=1e-3)


class TestAugment:
    def test_the_same_state_gives_the_same_changes_and_the_losses_see_clean_images(self):
        settings = AugmentConfig(flip=0.0, color=1.0, night=1.0)
        before = batch()
        first, second = (augment(batch(), settings, generator(3)) for _ in range(2))
        assert torch.equal(first.seen, second.seen)
        assert torch.equal(first.frames, before.frames) and not torch.equal(first.seen, before.frames)
        assert not torch.equal(augment(batch(), settings, generator(4)).seen, first.seen)
        assert first.seen.min() >= 0 and first.seen.max() <= 1

    def test_mirroring_twice_is_nothing_and_moves_everything_alike(self):
        always = AugmentConfig(flip=1.0, color=0.0, night=0.0)
        before = batch()
        once = augment(before, always, generator())
        assert torch.equal(once.frames, before.frames.flip(-1)) and torch.equal(once.depth, before.depth.flip(-1))
        assert once.K[0, 0, 2] == 127 - 60
        twice = augment(once, always, generator())
        for name in ("frames", "K", "depth", "support_from_target", "tracks"):
            torch.testing.assert_close(getattr(twice, name), getattr(before, name))

    def test_a_mirrored_point_projects_to_the_mirrored_pixel(self):
        before = batch(size=1)
        after = augment(before, AugmentConfig(flip=1.0, color=0.0, night=0.0), generator())
        point = torch.tensor([0.5, -0.2, 5.0, 1.0])
        mirrored = point * torch.tensor([-1.0, 1, 1, 1])

        def pixel(b: Batch, p: torch.Tensor) -> torch.Tensor:
            seen = b.K[0] @ (b.support_from_target[0, 0] @ p)[:3]
            return seen[:2] / seen[2]

        expected = pixel(before, point)
        torch.testing.assert_close(pixel(after, mirrored), torch.stack((127 - expected[0], expected[1])))

    def test_a_zoomed_view_is_that_of_a_camera_with_the_zoomed_intrinsics(self):
        before = batch()
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(128.0), indexing="ij")
        before.frames = torch.stack((columns / 128, rows / 64, torch.zeros(64, 128))).expand(3, 2, 3, 64, 128)
        before.depth = (1 + columns + 128 * rows).expand(2, 1, 64, 128)
        after = augment(before, AugmentConfig(flip=0.0, color=0.0, night=0.0, zoom=1.0), generator(1))
        assert (after.K[:, 0, 0] > before.K[:, 0, 0]).all() and (after.K[:, 1, 1] >= before.K[:, 1, 1]).all()
        for i in range(2):
            # Where the rays of the new pixels met the old image.
            grid = torch.stack((columns, rows, torch.ones(64, 128)), -1) @ torch.linalg.inv(after.K[i]).T
            old = grid @ before.K[i].T
            torch.testing.assert_close(after.frames[1, i, 0] * 128, old[..., 0].clamp(0, 127), atol=1e-2, rtol=0)
            torch.testing.assert_close(after.frames[2, i, 1] * 64, old[..., 1].clamp(0, 63), atol=1e-2, rtol=0)
            nearest = 1 + old[..., 0].round().clamp(0, 127) + 128 * old[..., 1].round().clamp(0, 63)
            assert (after.depth[i, 0] == nearest).float().mean() > 0.99
        known = ~after.tracks.isnan().any(-1)
        assert known.any()
        for start in (0, 2):
            moved, first = after.tracks[..., start : start + 2], before.tracks[..., start : start + 2]
            focal = after.K[:, (0, 1), (0, 1)] / before.K[:, (0, 1), (0, 1)]
            expected = (first - before.K[:, :2, 2][:, None]) * focal[:, None] + after.K[:, :2, 2][:, None]
            torch.testing.assert_close(moved[known], expected[known], rtol=1e-4, atol=1e-3)

    def test_zoom_spares_samples_by_its_probability(self):
        before, spare = batch(size=64), AugmentConfig(flip=0.0, color=0.0, night=0.0, zoom=0.5)
        same = (augment(before, spare, generator(2)).K == before.K).flatten(1).all(1)
        assert 16 < same.sum() < 48

    def test_night_darkens_bright_samples_only(self):
        night = AugmentConfig(flip=0.0, color=0.0, night=1.0)
        bright, dark = augment(batch(), night, generator()), augment(batch(brightness=0.2), night, generator())
        assert bright.seen.mean() < 0.6 * bright.frames.mean()
        assert torch.equal(dark.seen, dark.frames)

    def test_colours_keep_grey_levels_in_bounds(self):
        seen = augment(batch(), AugmentConfig(flip=0.0, color=1.0, night=0.0), generator()).seen
        assert 0.5 * batch().frames.mean() < seen.mean() < 1.5 * batch().frames.mean()


class TestFirstWeights:
    def test_same_seed_same_weights(self):
        first, second, other = (make_model(config(seed=seed)).state_dict() for seed in (3, 3, 4))
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not torch.equal(first["depth_net.encoder.conv1.weight"], other["depth_net.encoder.conv1.weight"])

    @pytest.mark.parametrize(("velocity", "low", "high"), [(0.0, 0.5, 1.5), (0.05, 5.0, 20.0)])
    def test_starts_far_and_driving_forward_in_the_unit_that_is_learned(self, velocity, low, high):
        model = make_model(config(**{"objective.velocity": velocity})).eval()
        images = torch.rand(2, 3, 128, 128)
        with torch.no_grad():
            disp = model.depth_net(images)["disp", 0]
            pose = model.pose_net(images, images)
        assert low < float(disp_to_depth(disp).mean()) < high
        ahead = support_from_target(pose, 1)[:, 2, 3]
        assert torch.all(ahead < 0), "what lies ahead comes nearer in the later frame"
        assert torch.all((ahead < -0.4) == (low > 1)), "a motion in the unit of the depth"

    def test_groups_hold_what_is_trained_once_and_nothing_else(self):
        chosen = config(frozen=["pose_net"])
        model = make_model(chosen)
        groups = parameter_groups(model, chosen)
        ids = [id(parameter) for group in groups for parameter in group["params"]]
        trained = [parameter for name, parameter in model.named_parameters() if not name.startswith("pose_net")]
        assert len(ids) == len(set(ids)) and set(ids) <= {id(parameter) for parameter in trained}
        model = make_model(config())
        gains = {group["gain"]: len(group["params"]) for group in parameter_groups(model, config())}
        assert gains[MOTION_GAIN] == 2
        set_modes(model, chosen)
        assert model.depth_net.training and not model.pose_net.training

    def test_what_no_objective_needs_is_not_trained(self):
        model = make_model(config(**{"objective.photometric": 0, "objective.truth": 1}))
        assert not any(p.requires_grad for net in (model.pose_net, model.feat_net) for p in net.parameters())
        assert any(p.requires_grad for p in model.depth_net.parameters())

    def test_fine_tuning_keeps_weights_as_they_are(self, tmp_path):
        file = tmp_path / "w.safetensors"
        DeFeatNet().save(file, {"trained": True})
        chosen = config(checkpoint=str(file))
        model, stored = make_model(chosen), DeFeatNet.from_ckpt(file).state_dict()
        assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
        assert chosen.peak_rate == 1e-4 and config().peak_rate == 5e-4
        assert {group["gain"] for group in parameter_groups(model, chosen)} == {1.0}


class TestObjectives:
    @pytest.mark.parametrize(
        ("objective", "nets"),
        [
            ({"features": False}, {"depth_net", "pose_net"}),
            ({"features": True}, {"depth_net", "pose_net", "feat_net"}),
            ({"photometric": 0, "truth": 1}, {"depth_net"}),
            ({"photometric": 0, "truth": 1, "truth_motion": 1}, {"depth_net", "pose_net"}),
            ({"features": False, "velocity": 0.05}, {"depth_net", "pose_net"}),
        ],
    )
    def test_each_reaches_the_networks_it_is_for_and_every_weight_of_theirs(self, objective, nets):
        chosen = config(**{f"objective.{name}": value for name, value in objective.items()})
        learner = Learner(make_model(chosen), chosen)
        loss, terms = learner(batch(), generator())
        loss.backward()
        reached = {
            name.split(".")[1]
            for name, parameter in learner.named_parameters()
            if parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        }
        assert reached == nets
        unreached = [name for name, p in learner.named_parameters() if p.requires_grad and p.grad is None]
        assert not unreached, "distributed training would wait for these"
        assert torch.isfinite(loss.detach()) and float(terms["loss"]) == pytest.approx(loss.item())

    def test_true_depth_costs_nothing_and_unknown_pixels_nothing_either(self):
        disps = {("disp", s): torch.rand(1, 1, 32 >> s, 32 >> s) * 0.5 + 0.01 for s in (0,)}
        truth = disp_to_depth(disps["disp", 0]).clone()
        truth[..., :5] = torch.nan
        plain, ours = LossConfig(truth_scale_free=0, truth_differences=0), LossConfig()
        far = {("disp", 0): torch.zeros(1, 1, 32, 32)}
        for chosen in (plain, ours):
            assert float(true_depth_loss(disps, truth, chosen)) == pytest.approx(0.0, abs=1e-6)
            assert float(true_depth_loss(disps, torch.full_like(truth, torch.nan), chosen)) == 0.0
            sky = true_depth_loss(far, torch.full_like(truth, torch.inf), chosen)
            assert float(sky) == pytest.approx(0.0, abs=1e-6)
        assert float(true_depth_loss(disps, truth * 2, plain)) == pytest.approx(np.log(2), rel=1e-4)
        assert float(true_depth_loss(disps, truth * 2, ours)) == pytest.approx(0.1 * np.log(2), rel=1e-3)

    def test_shape_is_learned_while_the_scale_is_off(self):
        flat = torch.full((1, 1, 32, 32), 0.1, requires_grad=True)
        truth = disp_to_depth(flat.detach()) * 1.5
        truth[..., :10] *= 0.8  # still farther than what is said, but nearer than the rest
        pulls = {}
        for share in (0.0, 0.9):
            chosen = LossConfig(truth_scale_free=share, truth_differences=0)
            true_depth_loss({("disp", 0): flat}, truth, chosen).backward()
            pulls[share] = (float(flat.grad[..., :10].mean()), float(flat.grad[..., 10:].mean()))
            flat.grad = None
        assert pulls[0.0][0] > 0 and pulls[0.0][1] > 0, "all of it is pushed away"
        assert pulls[0.9][0] < 0 < pulls[0.9][1], "the nearer part comes nearer"
        differences = LossConfig(truth_scale_free=1.0, truth_differences=1.0)
        true_depth_loss({("disp", 0): flat}, truth, differences).backward()
        assert float(flat.grad[..., 9].sum()) < 0 < float(flat.grad[..., 10].sum())

    def test_each_sample_is_forgiven_its_own_scale_and_the_sky_none(self):
        disps = {("disp", s): torch.rand(2, 1, 32 >> s, 32 >> s) * 0.3 + 0.1 for s in (0, 1)}
        forgiving = LossConfig(truth_scale_free=1.0)
        said = disp_to_depth(disps["disp", 0])
        halved = {("disp", 0): disps["disp", 0]}
        truth = said * torch.tensor([2.0, 0.5]).view(2, 1, 1, 1)
        assert float(true_depth_loss(halved, truth, forgiving)) == pytest.approx(0.0, abs=1e-5)
        far = torch.cat((torch.zeros(2, 1, 16, 32), disps["disp", 0][..., 16:, :]), 2)
        for beyond in (torch.inf, 150.0):
            sky = torch.cat((torch.full((2, 1, 16, 32), beyond), truth[..., 16:, :]), 2)
            assert float(true_depth_loss({("disp", 0): far}, sky, forgiving)) == pytest.approx(0.0, abs=1e-5)
        one_alone = true_depth_loss(disps, torch.cat((truth[:1], torch.full_like(truth[:1], torch.nan))), LossConfig())
        first = {key: disp[:1] for key, disp in disps.items()}
        assert float(one_alone) == pytest.approx(float(true_depth_loss(first, truth[:1], LossConfig())) / 2, rel=1e-5)

    def test_lengths_and_motions_against_truth(self):
        truth = motion(torch.zeros(2, 3), torch.tensor([[0.0, 0, 2], [0, 3, 4]])).view(2, 1, 4, 4)
        turned = motion(torch.zeros(2, 3), torch.tensor([[2.0, 0, 0], [3, 4, 0]])).view(2, 1, 4, 4)
        assert float(velocity_loss(turned, truth)) == pytest.approx(0.0, abs=1e-6)
        assert float(motion_loss(truth, truth)) == 0.0 and float(motion_loss(turned, truth)) > 1
        unknown = torch.full_like(truth, torch.nan)
        assert float(velocity_loss(turned, unknown)) == float(motion_loss(turned, unknown)) == 0.0

    def test_still_motion_has_a_gradient(self):
        still = motion(torch.zeros(2, 3), torch.zeros(2, 3)).view(2, 1, 4, 4).requires_grad_()
        truth = motion(torch.zeros(2, 3), torch.ones(2, 3)).view(2, 1, 4, 4)
        velocity_loss(still, truth).backward()
        assert torch.isfinite(still.grad).all()


class TestCollapse:
    HEALTHY: ClassVar = {"health/depth_spread": 0.6, "health/mean_depth": 5.0, "health/motion": 0.05}

    @pytest.mark.parametrize(
        ("sick", "sign"),
        [
            ({"health/depth_spread": 0.001}, "flat"),
            ({"health/motion": 1e-6}, "motion is zero"),
            ({"health/mean_depth": 99.9}, "scale ran away"),
            ({"health/mean_depth": 0.1}, "scale ran away"),
        ],
    )
    def test_a_lasting_sign_is_said(self, sick, sign):
        watch = CollapseWatch(moving=True)
        said = [watch.see({**self.HEALTHY, **sick}) for _ in range(2 * PATIENCE + 2)]
        assert all(word is None for word in said[:PATIENCE]) and sign in said[-1]

    def test_healthy_training_and_a_short_lapse_are_not(self):
        watch = CollapseWatch(moving=True)
        for step in range(4 * PATIENCE):
            lapse = {"health/depth_spread": 0.001} if 2 * PATIENCE < step < 2 * PATIENCE + 50 else {}
            assert watch.see({**self.HEALTHY, **lapse}) is None

    def test_no_motion_is_no_sign_where_none_is_learned(self):
        watch = CollapseWatch(moving=False)
        terms = {"health/depth_spread": 0.6, "health/mean_depth": 5.0}
        assert all(watch.see(terms) is None for _ in range(3 * PATIENCE))


class TestState:
    def test_round_trip_and_absence(self, tmp_path):
        assert load_state(tmp_path) is None
        save_state(tmp_path, {"model": {"a": torch.ones(2)}, "facts": {"x": [1, 2]}})
        state = load_state(tmp_path)
        assert torch.equal(state["model"]["a"], torch.ones(2)) and state["facts"] == {"x": [1, 2]}

    @pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04 cut"])
    def test_a_damaged_file_is_said(self, tmp_path, content):
        (tmp_path / "last.ckpt").write_bytes(content)
        with pytest.raises(TrainingError, match="last.ckpt"):
            load_state(tmp_path)

    def test_a_full_disk_keeps_the_last_good_state(self, tmp_path):
        """The real error, by a limit on the size of files in a process of its own."""
        code = (
            "import resource, signal, sys, torch; from pathlib import Path\n"
            "from defeat_ros.training.state import save_state; from defeat_ros.errors import OutputError\n"
            "folder = Path(sys.argv[1]); save_state(folder, {'model': {'a': torch.ones(10)}})\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
            "try:\n    save_state(folder, {'model': {'a': torch.ones(100_000)}})\n"
            "except OutputError as error:\n    print(error)\n"
        )
        assert signal.SIGXFSZ and resource.RLIMIT_FSIZE
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
        assert "cannot write" in done.stdout and "is kept" in done.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
        assert len(load_state(tmp_path)["model"]["a"]) == 10

    def test_an_unwritable_folder(self, tmp_path):
        with pytest.raises(OutputError, match="cannot write"):
            save_state(tmp_path / "absent", {})

    def test_another_configuration_is_named(self, tmp_path):
        facts = {"batch_size": 8, "size": (480, 352), "workers": 1}
        check_same_run({**facts, "size": [480, 352]}, {**facts, "workers": 4}, tmp_path)
        with pytest.raises(ConfigError, match="batch_size: 8 then, 4 now"):
            check_same_run(facts, {**facts, "batch_size": 4}, tmp_path)


def test_frozen_norms_keep_their_statistics():
    chosen = config(frozen=["depth_net"], **{"objective.features": False})
    learner = Learner(make_model(chosen), chosen)
    set_modes(learner.model, chosen)
    before = {name: tensor.clone() for name, tensor in learner.model.depth_net.state_dict().items()}
    learner(batch(), generator())
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.model.depth_net.state_dict().items())


def test_only_samples_without_truth_are_explained_by_their_neighbours():
    chosen = config(**{"objective.truth": 1, "objective.tracks": 0, "objective.photometric_where": "no_truth"})
    learner = Learner(make_model(chosen), chosen).eval()
    given = batch()
    assert given.depth is not None
    given.depth[1] = torch.nan
    loss, terms = learner(given, generator())
    alone = Batch(given.frames[:, 1:], given.seen[:, 1:], given.K[1:], given.depth[1:])
    of_one = learner(alone, generator())[1]
    for name in ("photometric", "smoothness", "feature"):
        torch.testing.assert_close(terms[name], of_one[name] / 2)
    plain = float(loss.detach() - terms["truth"])
    assert plain == pytest.approx(float(of_one["loss"]) / 2, rel=1e-4)
    given.depth[1] = 5.0
    loss, terms = learner(given, generator())
    assert float(loss.detach()) == pytest.approx(float(terms["truth"]))
    loss.backward()
    without = [name for name, parameter in learner.named_parameters() if parameter.grad is None]
    assert not without, "every process exchanges every gradient"
    with pytest.raises(ConfigError, match="photometric_where"):
        config(**{"objective.photometric_where": "no_truth"})


def test_true_features_take_only_pixels_whose_depth_agrees():
    chosen = config(**{"objective.photometric": 0, "objective.truth_features": 1})
    learner = Learner(make_model(chosen), chosen)
    still, depth = torch.eye(4).repeat(2, 2, 1, 1), torch.full((2, 1, 128, 128), 10.0)
    depth[..., :8, :] = torch.inf
    given = replace(batch(), depth=depth, support_from_target=still)
    hidden = replace(given, support_depth=torch.full((2, 2, 1, 128, 128), 5.0))
    assert float(learner(hidden, generator())[1]["truth_features"]) == 0.0
    seen = replace(given, support_depth=depth.repeat(2, 1, 1, 1, 1))
    loss, terms = learner(seen, generator())
    assert float(terms["truth_features"]) > 0.0 and set(terms) == {"truth_features", "loss"}
    loss.backward()
    nets = {name.split(".")[1] for name, p in learner.named_parameters() if p.grad is not None}
    assert nets == {"feat_net"}


def test_convention_of_the_translation_changes_the_motion():
    plain = config(**{"objective.features": False})
    published = replace(plain, loss=replace(plain.loss, translation="inverse_depth"))
    torch.manual_seed(0)
    losses = [float(Learner(make_model(c), c)(batch(), generator())[1]["health/motion"]) for c in (plain, published)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
