"""From recordings to batches: motion between frames, the cache, which frames are chosen, and their order."""

from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from drawn_drive import (
    CAMERA,
    HEIGHT,
    PERIOD_NS,
    WIDTH,
    draw,
    world_from_camera,
    write_drive,
    write_folder,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from defeat_ros.data.folder import EPOCH_NS
from defeat_ros.errors import ConfigError, OutputError, SourceError
from defeat_ros.frame import CameraIntrinsics
from defeat_ros.geometry import invert, rotation_from_vector
from defeat_ros.preprocess import resize_nearest
from defeat_ros.settings import build
from defeat_ros.training import cache, prepare
from defeat_ros.training.batches import ShuffledBatches, make_loader
from defeat_ros.training.cache import ArrayFile, PreparedSource
from defeat_ros.training.parallax import Parallax, parallax, view
from defeat_ros.training.prepare import SourceSpec, prepare_source
from defeat_ros.training.triplets import TripletConfig, TripletDataset, choose_triplets, find_twins, single_frames

SIZE = (48, 64)
DRIVE = [(0.05 * index, 0.2 * index) for index in range(8)]


def motion(first: np.ndarray, second: np.ndarray, width: int = WIDTH) -> Parallax:
    return parallax(view(first, CAMERA), view(second, CAMERA), width)


def noisy(image: np.ndarray, seed: int, gain: float = 1.0, sigma: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image * gain + noise, 0, 255).astype(np.uint8)


def turned(image: np.ndarray, vector: tuple[float, float, float]) -> np.ndarray:
    """The view after a turn of the camera, rad."""
    homography = CAMERA.K @ rotation_from_vector(np.array(vector)) @ np.linalg.inv(CAMERA.K)
    return cv2.warpPerspective(image, homography, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


class TestParallax:
    start = draw(0.0, 0.0)[0]

    @pytest.mark.parametrize("vector", [(0.0, 0.06, 0.0), (0.04, 0.0, 0.0), (0.0, 0.0, 0.08), (0.02, -0.04, 0.03)])
    def test_a_turn_is_none(self, vector: tuple[float, float, float]) -> None:
        found = motion(self.start, turned(self.start, vector))
        assert found.known and found.pixels < 0.25
        moved = draw(0.1, 0.3)[0]
        with_turn, without = motion(self.start, turned(moved, vector)), motion(self.start, moved)
        # The turn takes other corners out of the picture, so the same share of them is another one.
        assert with_turn.pixels == pytest.approx(without.pixels, rel=0.4)

    def test_moving_sideways_is_the_difference_of_near_and_far(self) -> None:
        found = motion(self.start, draw(0.2, 0.0)[0])
        nearest, farthest = 100 * 0.2 / 6, 100 * 0.2 / 40
        assert 0.3 * (nearest - farthest) < found.pixels < 1.2 * (nearest - farthest)
        assert motion(self.start, draw(0.2, 0.0)[0], 2 * WIDTH).pixels == pytest.approx(2 * found.pixels)

    @pytest.mark.parametrize("gain", [1.0, 0.06])
    def test_it_grows_with_the_way_by_day_and_night(self, gain: float) -> None:
        first = noisy(self.start, 0, gain, sigma=0.3)
        ways = [motion(first, noisy(draw(0.0, z)[0], 1, gain, sigma=0.3)) for z in (0.0, 0.15, 0.3, 0.6)]
        assert all(found.known for found in ways)
        pixels = [found.pixels for found in ways]
        assert pixels == sorted(pixels) and pixels[0] < 0.15 and pixels[1] > 0.4

    def test_standing(self) -> None:
        found = motion(noisy(self.start, 1), noisy(self.start, 2))
        assert found.known and found.pixels < 0.15 and found.tracks > 50

    def test_what_cannot_be_told(self) -> None:
        other = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cut = motion(self.start, cv2.resize(other, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
        black = np.zeros_like(self.start)
        for found in (cut, motion(black, self.start), motion(self.start, black), motion(black, black)):
            assert not found.known and np.isnan(found.pixels)
        small = parallax(
            view(self.start, CAMERA), view(self.start[:50], CameraIntrinsics(50, 50, 30, 20, WIDTH, 50)), 192
        )
        assert not small.known


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drive(tmp_path_factory.mktemp("drive") / "bag", DRIVE)


@pytest.fixture(scope="module")
def prepared(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedSource:
    return prepare_source(SourceSpec(bag), SIZE, tmp_path_factory.mktemp("cache"))


def folder_spec(tmp_path: Path, positions: list[tuple[float, float]] | None = None) -> SourceSpec:
    return SourceSpec(write_folder(tmp_path / "images", positions or DRIVE[:4]))


class TestPrepare:
    def test_round_trip(self, prepared: PreparedSource) -> None:
        assert (len(prepared), prepared.size_hw, dict(prepared.skipped), prepared.reused) == (8, SIZE, {}, False)
        assert prepared.depth is not None and prepared.poses is not None
        assert prepared.warnings == () and prepared.name == "bag"
        for index, position in enumerate(DRIVE):
            image, depth = draw(*position)
            small = cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA)
            np.testing.assert_array_equal(prepared.images[index], small)
            np.testing.assert_array_equal(prepared.depth[index], depth[1::2, 1::2].astype(np.float16))
            np.testing.assert_allclose(prepared.poses[index], world_from_camera(*position), atol=1e-9)
        assert prepared.mean_grey == pytest.approx(float(prepared.images.mean()))
        assert prepared.stamps.tolist() == [EPOCH_NS + index * PERIOD_NS for index in range(8)]
        expected = [[50, 0, (62 + 0.5) / 2 - 0.5], [0, 51, (50 + 0.5) / 2 - 0.5], [0, 0, 1]]
        assert prepared.cameras.tolist() == [expected] * 8
        assert prepared.parallax.shape == prepared.tracks.shape == (prepare.MAX_OFFSET, 8)
        assert (prepared.parallax[0, :-1] > 0.5).all() and np.isnan(prepared.parallax[0, -1])
        with pytest.raises(ValueError):
            prepared.images[0] = 0

    def test_the_second_time_it_is_there(self, bag: Path, tmp_path: Path) -> None:
        steps: list[tuple[int, int | None]] = []
        first = prepare_source(SourceSpec(bag), SIZE, tmp_path, lambda done, of: steps.append((done, of)))
        assert steps == [(done, 8) for done in range(1, 9)]
        second = prepare_source(SourceSpec(bag), SIZE, tmp_path)
        assert second.reused and second == PreparedSource(**{**vars(first), "reused": True})
        for spec, size in ((SourceSpec(bag), (96, 128)), (SourceSpec(bag, fps=5.0), SIZE)):
            assert not prepare_source(spec, size, tmp_path).reused
        assert len(list(tmp_path.iterdir())) == 3

    def test_changed_files_are_prepared_anew(self, tmp_path: Path) -> None:
        spec, store = folder_spec(tmp_path), tmp_path / "cache"
        prepare_source(spec, SIZE, store)
        (spec.path / "000003.png").unlink()
        assert len(prepare_source(spec, SIZE, store)) == 3
        camera = json.loads((spec.path / "camera.json").read_text())
        (spec.path / "camera.json").write_text(json.dumps({**camera, "fx": 200.0}))
        assert prepare_source(spec, SIZE, store).cameras[0, 0, 0] == 100.0
        assert len(list(store.iterdir())) == 1

    @pytest.mark.parametrize("damage", ["cut", "gone", "text", "version", "shape"])
    def test_damaged_caches_are_made_anew(self, tmp_path: Path, damage: str) -> None:
        spec, store = folder_spec(tmp_path), tmp_path / "cache"
        folder = prepare_source(spec, SIZE, store).folder
        about = folder / cache.ABOUT
        if damage == "cut":
            os.truncate(folder / "images.npy", 1000)
        elif damage == "gone":
            (folder / "stamps.npy").unlink()
        elif damage == "text":
            about.write_text("{")
        else:
            change = {"version": 0} if damage == "version" else {"count": 77}
            about.write_text(json.dumps({**json.loads(about.read_text()), **change}))
        again = prepare_source(spec, SIZE, store)
        assert not again.reused and len(again) == 4 and again.images.shape == (4, *SIZE, 3)
        assert prepare_source(spec, SIZE, store).reused

    def test_interrupted(self, tmp_path: Path) -> None:
        spec, store = folder_spec(tmp_path), tmp_path / "cache"

        def interrupt(done: int, _: int | None) -> None:
            if done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare_source(spec, SIZE, store, interrupt)
        assert list(store.iterdir()) == []
        assert len(prepare_source(spec, SIZE, store)) == 4

    def test_what_a_killed_process_left_is_removed(self, tmp_path: Path) -> None:
        spec, store = folder_spec(tmp_path), tmp_path / "cache"
        here = cache.scratch_beside(store / "x").name
        dead = store / here.replace(f".{os.getpid()}.", ".999999999.")
        alive = store / here.replace(f".{os.getpid()}.", f".{os.getppid()}.")
        elsewhere = store / ".x.another-host.999999999.part"
        for folder in (dead, alive, elsewhere):
            folder.mkdir(parents=True)
        prepare_source(spec, SIZE, store)
        assert not dead.exists() and alive.exists() and elsewhere.exists()

    def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        spec, store = folder_spec(tmp_path), tmp_path / "cache"

        def full(self: ArrayFile, item: np.ndarray) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(ArrayFile, "append", full)
        with pytest.raises(OutputError, match="No space left"):
            prepare_source(spec, SIZE, store)
        assert list(store.iterdir()) == []
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="cannot be written"):
            prepare_source(spec, SIZE, tmp_path / "file")

    def test_two_processes_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        spec, store = folder_spec(tmp_path), tmp_path / "cache"
        finish, nested, inodes = prepare.put_in_place, [], []

        def overtaken(scratch: Path, folder: Path, fingerprint: str) -> None:
            monkeypatch.setattr(prepare, "put_in_place", finish)
            monkeypatch.setattr(prepare, "scratch_beside", lambda folder: store / ".other.part")
            nested.append(prepare_source(spec, SIZE, store))
            inodes.append(folder.stat().st_ino)
            finish(scratch, folder, fingerprint)

        monkeypatch.setattr(prepare, "put_in_place", overtaken)
        made = prepare_source(spec, SIZE, store)
        assert len(nested) == 1 and np.array_equal(nested[0].images, made.images)
        assert inodes == [made.folder.stat().st_ino], "the first one stays, it may be in use"
        assert list(store.iterdir()) == [made.folder]

    def test_unusable_images_are_counted(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "images", DRIVE)
        (folder / "000002.png").write_bytes(b"no image")
        assert cv2.imwrite(str(folder / "000005.png"), draw(*DRIVE[5])[0][:-2])
        source = prepare_source(SourceSpec(folder), SIZE, tmp_path / "cache")
        assert (len(source), dict(source.skipped)) == (6, {"decode_failed": 1, "size_changed": 1})
        assert source.follows.tolist() == [False, True, False, True, False, True]
        with pytest.raises(SourceError, match="expected at least 3 usable ones in a row"):
            choose_triplets(source)

    def test_no_camera(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "images", DRIVE[:3], camera=False)
        for spec in (SourceSpec(folder), SourceSpec(write_drive(tmp_path / "bag", DRIVE[:3], camera_info=False))):
            with pytest.raises(SourceError, match="camera.json in a folder.*PATH=INTRINSICS") as caught:
                prepare_source(spec, SIZE, tmp_path / "cache")
            assert str(spec.path) in str(caught.value) and "\n" not in str(caught.value)
        (tmp_path / "c.json").write_text(
            json.dumps({"width": WIDTH, "height": HEIGHT, "fx": 90, "fy": 90, "cx": 64, "cy": 48})
        )
        spec = SourceSpec.parse(f"{folder}={tmp_path / 'c.json'}")
        assert prepare_source(spec, SIZE, tmp_path / "cache").cameras[0, 0, 0] == 45.0
        assert len(list((tmp_path / "cache").iterdir())) == 1

    def test_nothing_usable(self, tmp_path: Path) -> None:
        path = write_drive(tmp_path / "bag", DRIVE[:3], damaged=range(3))
        with pytest.raises(SourceError, match="has no usable image: 3 short_data"):
            prepare_source(SourceSpec(path), SIZE, tmp_path / "cache")
        with pytest.raises(SourceError, match="absent does not exist"):
            prepare_source(SourceSpec(tmp_path / "absent"), SIZE, tmp_path / "cache")

    def test_depth_that_comes_late(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "images", DRIVE[:4])
        assert cv2.imwrite(str(folder / "000002_depth.png"), np.full((HEIGHT, WIDTH), 512, np.uint16))
        source = prepare_source(SourceSpec(folder), SIZE, tmp_path / "cache")
        assert source.depth is not None and source.poses is None
        assert [np.isnan(depth).all() for depth in source.depth] == [True, True, False, True]
        assert (source.depth[2] == 2.0).all()
        assert single_frames(source).targets.tolist() == [2]
        assert single_frames(source).counts == {"used": 1, "no_depth": 3}
        assert len(single_frames(source, with_depth=False)) == 4

    def test_distorted_cameras_are_rectified(self, tmp_path: Path) -> None:
        camera = CameraIntrinsics(
            **{**vars(CAMERA), "distortion_model": "plumb_bob", "distortion": (-0.2, 0.0, 0.0, 0.0, 0.0)}
        )
        path = write_drive(tmp_path / "bag", DRIVE[:3], camera=camera)
        source = prepare_source(SourceSpec(path), SIZE, tmp_path / "cache")
        plain = cv2.resize(draw(*DRIVE[0])[0], SIZE[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(source.images[0].astype(int) - plain).mean() > 2
        assert source.depth is None and "depth of 3 images with lens distortion is left out" in source.warnings


def test_growing_array_file(tmp_path: Path) -> None:
    items = np.random.default_rng(0).normal(size=(1234, 3, 2)).astype(np.float32)
    file = ArrayFile(tmp_path / "a.npy", (3, 2), np.float32)
    for item in items:
        file.append(item)
    with pytest.raises(ValueError, match="expected"):
        file.append(items[0, :2])
    file.close()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), items)


@pytest.mark.parametrize("size_hw", [(3, 5), (6, 10), (12, 20), (4, 7)])
def test_nearest_values_are_taken_not_mixed(size_hw: tuple[int, int]) -> None:
    values = np.arange(60, dtype=np.float32).reshape(6, 10)
    small = resize_nearest(values, size_hw)
    assert small.shape == size_hw and np.isin(small, values).all()
    np.testing.assert_array_equal(resize_nearest(values, (6, 10)), values)
    np.testing.assert_array_equal(
        resize_nearest(values[::-1, ::-1], (12, 20)), resize_nearest(values, (12, 20))[::-1, ::-1]
    )


class TestTriplets:
    def choose(self, tmp_path: Path, positions: list[tuple[float, float]], **options: Any) -> dict[int, int]:
        spec = SourceSpec(write_drive(tmp_path / "bag", positions, **options))
        source = prepare_source(spec, SIZE, tmp_path / "cache")
        chosen = choose_triplets(source)
        assert sum(chosen.counts.values()) == len(source) and chosen.counts["used"] == len(chosen)
        self.counts = chosen.counts
        return dict(zip(chosen.targets.tolist(), chosen.offsets.tolist(), strict=True))

    def test_driving(self, tmp_path: Path) -> None:
        assert self.choose(tmp_path, DRIVE) == dict.fromkeys(range(1, 7), 1)
        assert self.counts == {"used": 6, "static": 0, "untrackable": 0, "gap": 2}

    def test_slow_driving_takes_frames_that_lie_farther_apart(self, tmp_path: Path) -> None:
        found = self.choose(tmp_path, [(0.0, 0.02 * index) for index in range(24)])
        assert set(found.values()) <= {3, 4, 5} and len(found) >= 12
        assert self.counts["static"] > 0 and self.counts["gap"] == 2

    def test_waiting_at_a_light(self, tmp_path: Path) -> None:
        before, after = ([(0.0, start + 0.2 * index) for index in range(5)] for start in (0.0, 1.2))
        found = self.choose(tmp_path, before + [(0.0, 1.0)] * 16 + after)
        assert not set(found) & set(range(11, 15)), "nothing to learn from deep within the stop"
        assert set(range(1, 5)) <= set(found) and set(range(21, 25)) <= set(found)
        assert self.counts["static"] >= 4

    def test_all_static(self, tmp_path: Path) -> None:
        with pytest.raises(
            SourceError, match=r"7 static, 2 gap; the largest parallax is 0.0. px, expected 0.75"
        ) as caught:
            self.choose(tmp_path, [(0.0, 0.0)] * 9)
        assert "\n" not in str(caught.value) and "bag has nothing to learn motion from in 9 frames" in str(caught.value)

    def test_gaps_and_unusable_images_are_not_crossed(self, tmp_path: Path) -> None:
        late = [EPOCH_NS + (index + 4 * (index >= 4)) * PERIOD_NS for index in range(8)]
        assert self.choose(tmp_path, DRIVE, stamps=late) == dict.fromkeys((1, 2, 5, 6), 1)
        assert self.counts["gap"] == 4
        # Twice the time is no gap, but the image that is missing there breaks the row.
        assert self.choose(tmp_path / "b", DRIVE, damaged=[4]) == dict.fromkeys((1, 2, 5), 1)

    def test_options(self) -> None:
        assert build(TripletConfig, {"min_parallax_px": 1, "max_offset": 2}) == TripletConfig(1.0, 2)
        with pytest.raises(ConfigError, match="max_offset"):
            build(TripletConfig, {"max_offset": 6})


class TestDataset:
    def test_samples(self, prepared: PreparedSource) -> None:
        chosen = choose_triplets(prepared)
        data = TripletDataset([(prepared, chosen), (prepared, chosen)], with_depth=True, with_motion=True)
        assert len(data) == 12 and data.lengths == [6, 6]
        assert prepared.depth is not None
        batch = data.__getitems__([7, 0])
        assert batch["source"].tolist() == [1, 0] and batch["index"].tolist() == [2, 1]
        for row, target in enumerate((2, 1)):
            for column, frame in enumerate((target, target - 1, target + 1)):
                np.testing.assert_array_equal(batch["images"][row, column], prepared.images[frame])
                if column:
                    expected = invert(world_from_camera(*DRIVE[frame])) @ world_from_camera(*DRIVE[target])
                    np.testing.assert_allclose(batch["support_from_target"][row, column - 1], expected, atol=1e-6)
            np.testing.assert_array_equal(batch["depth"][row], prepared.depth[target].astype(np.float32))
        np.testing.assert_allclose(batch["distance"], np.hypot(0.05, 0.2), rtol=1e-4)
        assert {name: (tuple(value.shape), value.dtype) for name, value in data[3].items()} == {
            "images": ((3, *SIZE, 3), torch.uint8), "K": ((3, 3), torch.float32), "source": ((), torch.int64),
            "index": ((), torch.int64), "offset": ((), torch.int64), "depth": (SIZE, torch.float32),
            "support_from_target": ((2, 4, 4), torch.float32), "distance": ((2,), torch.float32),
        }  # fmt: skip

    def test_without_truth(self, tmp_path: Path) -> None:
        source = prepare_source(folder_spec(tmp_path), SIZE, tmp_path / "cache")
        part = (source, choose_triplets(source))
        assert set(TripletDataset([part])[0]) == {"images", "K", "source", "index", "offset"}
        sample = TripletDataset([part], with_depth=True, with_motion=True)[0]
        assert all(torch.isnan(sample[name]).all() for name in ("depth", "distance", "support_from_target"))

    def test_twins_lend_their_neighbours(self, tmp_path: Path) -> None:
        paths = [write_drive(tmp_path / f"{light}", DRIVE, light=light) for light in (1.0, 0.5)]
        other = write_drive(tmp_path / "other", [(x + 1.0, z) for x, z in DRIVE])
        sources = [prepare_source(SourceSpec(path), SIZE, tmp_path / "cache") for path in (paths[0], other, paths[1])]
        twins = find_twins(sources)
        assert twins == {0: 2, 2: 0}
        parts = [(source, choose_triplets(source)) for source in sources]
        plain, crossed = TripletDataset(parts)[0], TripletDataset(parts, twins=twins)[0]
        assert torch.equal(plain["images"][0], crossed["images"][0])
        ratio = crossed["images"][1:].float().mean() / plain["images"][1:].float().mean()
        assert ratio == pytest.approx(0.5, abs=0.02)
        with pytest.raises(SourceError, match="twin"):
            find_twins(sources[:2])

    def test_single_frames(self, prepared: PreparedSource) -> None:
        alone = (prepared, single_frames(prepared))
        data = TripletDataset([alone], with_depth=True)
        assert len(data) == 8 and data[5]["images"].shape == (1, *SIZE, 3)
        np.testing.assert_array_equal(data[5]["images"][0], prepared.images[5])
        with pytest.raises(ConfigError, match="neighbours for all or none"):
            TripletDataset([alone, (prepared, choose_triplets(prepared))])
        with pytest.raises(ConfigError, match="expected one size"):
            TripletDataset([])

    @pytest.mark.parametrize("workers", [0, 1])
    def test_loader(self, prepared: PreparedSource, workers: int) -> None:
        data = TripletDataset([(prepared, choose_triplets(prepared))], with_motion=True)
        data[0]  # the maps are open: they must not travel
        assert len(pickle.dumps(data)) < 10_000
        loader = make_loader(data, ShuffledBatches(data.lengths, 4, steps=3), workers)
        batches = list(loader)
        assert len(loader) == len(batches) == 3
        expected = ShuffledBatches(data.lengths, 4)
        for step, batch in enumerate(batches):
            assert batch["images"].dtype == torch.uint8 and batch["images"].shape == (4, 3, *SIZE, 3)
            assert torch.equal(batch["images"], data.__getitems__(expected.batch(step))["images"])


class TestShuffledBatches:
    @settings(max_examples=60, deadline=None)
    @given(
        lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
        batch_size=st.integers(1, 9),
        world_size=st.integers(1, 3),
        balance=st.booleans(),
        seed=st.integers(0, 3),
        start=st.integers(0, 20),
    )
    def test_a_function_of_the_step(self, lengths, batch_size, world_size, balance, seed, start) -> None:
        for rank in range(world_size):
            options = {"seed": seed, "rank": rank, "world_size": world_size, "balance": balance}
            whole = list(ShuffledBatches(lengths, batch_size, steps=24, **options))
            rest = ShuffledBatches(lengths, batch_size, steps=24, start_step=start, **options)
            assert list(rest) == whole[start:] == list(rest) and len(rest) == 24 - start
            assert all(len(batch) == batch_size and 0 <= min(batch) <= max(batch) < sum(lengths) for batch in whole)

    @settings(max_examples=40, deadline=None)
    @given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4), world_size=st.integers(1, 3))
    def test_every_sample_once_an_epoch_over_all_processes(self, lengths, world_size) -> None:
        total = sum(lengths)
        samplers = [ShuffledBatches(lengths, 1, rank=rank, world_size=world_size) for rank in range(world_size)]
        drawn = [sampler.batch(step)[0] for step in range(2 * total) for sampler in samplers]
        for epoch in range(2):
            assert sorted(drawn[epoch * total : (epoch + 1) * total]) == list(range(total))
        if total > 12:
            assert drawn[:total] != drawn[total : 2 * total] and drawn[:total] != sorted(drawn[:total])

    @settings(max_examples=40, deadline=None)
    @given(lengths=st.lists(st.integers(1, 200), min_size=2, max_size=4))
    def test_balance_goes_by_the_square_root(self, lengths) -> None:
        total, starts = sum(lengths), np.concatenate([[0], np.cumsum(lengths)])
        sampler = ShuffledBatches(lengths, 1, balance=True)
        epoch = sampler._epoch_length
        assert total <= epoch <= total + len(lengths)
        drawn = np.array([sampler.batch(step)[0] for step in range(3 * epoch)])
        for source, length in enumerate(lengths):
            own = drawn[(drawn >= starts[source]) & (drawn < starts[source + 1])]
            expected = 3 * total * np.sqrt(length) / np.sqrt(lengths).sum()
            assert len(own) == pytest.approx(expected, abs=3 * len(lengths) + 3)
            times = np.bincount(own - starts[source], minlength=length)
            assert times.max() - times.min() <= 2, "no sample comes much more often than another of its source"

    def test_seeds_differ_and_endless_has_no_length(self) -> None:
        first, second = (ShuffledBatches([50], 8, seed=seed) for seed in (0, 1))
        assert first.batch(0) != second.batch(0) and first.epoch_of(7) == 1
        with pytest.raises(TypeError):
            len(first)
        assert len(ShuffledBatches([5], 2, start_step=9, steps=4)) == 0

    @pytest.mark.parametrize(
        "options",
        [
            {"lengths": []},
            {"lengths": [3, 0]},
            {"batch_size": 0},
            {"start_step": -1},
            {"rank": 2, "world_size": 2},
            {"seed": -1},
        ],
    )
    def test_bad_values(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            ShuffledBatches(**{"lengths": [3], "batch_size": 2, **options})


def test_real_data(shared_dir: Path, tmp_path: Path) -> None:
    """The single images with lidar are no drive, but teach depth."""
    source = prepare_source(SourceSpec(shared_dir / "data" / "kitti_lidar"), (128, 192), tmp_path)
    assert len(source) == 3 and len(single_frames(source)) == 3
    assert len({tuple(camera.reshape(-1)) for camera in source.cameras}) == 2
    with pytest.raises(SourceError, match="nothing to learn motion from in 3 frames"):
        choose_triplets(source)
