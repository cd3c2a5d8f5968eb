"""The networks: published layout and numbers, options, sizes, training, their way through weight files."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from defeat_ros.checkpoint.content import Checkpoint
from defeat_ros.checkpoint.reading import read_checkpoint
from defeat_ros.checkpoint.writing import write_checkpoint
from defeat_ros.errors import CheckpointError, ConfigError, FrameError
from defeat_ros.networks import DeFeatNet, DepthNet, FeatNet, PoseNet, check_size, make_untrained

GOLDEN = Path(__file__).parents[1].parent / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"golden values are not at {GOLDEN}")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for each other make small layers crawl on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def untrained():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        make_untrained(path)
        yield path


@pytest.fixture
def tmp_path(tmp_path):
    """pytest keeps the folders of three runs; 120 MB a file is too much for that."""
    yield tmp_path
    for path in tmp_path.iterdir():
        path.unlink()


@pytest.fixture(scope="module")
def checkpoint(untrained) -> Checkpoint:
    return read_checkpoint(untrained)


@pytest.fixture(scope="module")
def model(untrained) -> DeFeatNet:
    return DeFeatNet.from_ckpt(untrained)


def _shapes(**options) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in DeFeatNet(**options).state_dict().items()}


def _images(batch=1, height=128, width=160, seed=0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def _with(checkpoint: Checkpoint, **options) -> Checkpoint:
    return replace(checkpoint, options={**checkpoint.options, **options})


def _refused(checkpoint: Checkpoint, strict=True) -> str:
    with pytest.raises(CheckpointError) as caught:
        DeFeatNet.load(checkpoint, strict)
    assert "\n" not in str(caught.value) and str(checkpoint.path) in str(caught.value)
    return str(caught.value)


# Against the published implementation


@pytest.fixture(scope="module")
def golden(golden_network):
    return *golden_network, dict(np.load(GOLDEN / "networks.npz"))


@needs_golden
def test_layout_is_the_published_one(golden):
    spec, network, _ = golden
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == spec["state_dict"]
    assert network.options == spec["config"]


@needs_golden
@torch.no_grad()
def test_outputs_are_the_published_ones(golden):
    _, network, values = golden
    a, b = (torch.from_numpy(values[name]) for name in ("image_a", "image_b"))
    outputs = {f"disp_{s}": disp for (_, s), disp in network.depth_net(a).items()}
    outputs["pose_axisangle"], outputs["pose_translation"] = network.pose_net(a, b)
    outputs["features"] = network.feat_net(a)
    assert len(outputs) == 7
    for name, output in outputs.items():
        want = values[name]
        # Float32 rounds each value to about 1e-6 of the largest, so that is what they are held against.
        np.testing.assert_allclose(output.numpy(), want, rtol=1e-5, atol=1e-5 * np.abs(want).max(), err_msg=name)


@needs_golden
def test_published_file_has_the_published_entries(golden, tmp_path):
    spec, network, _ = golden
    network.save_published(tmp_path / "a.pt")
    entries = torch.load(tmp_path / "a.pt", weights_only=False)["model"]
    plain = {name: repr(value) for name, value in entries.items() if not isinstance(value, torch.Tensor)}
    assert plain == spec["non_tensor_keys"]
    assert entries.keys() == spec["state_dict"].keys() | plain.keys()


# Layout and options


def test_layout_of_a_handful_of_keys():
    shapes = _shapes()
    assert len(shapes) == 642
    assert shapes["depth_net.encoder.fc.weight"] == (1000, 512)
    assert shapes["depth_net.decoder.7.conv.conv.weight"] == (32, 96, 3, 3)
    assert shapes["depth_net.decoder.13.conv.bias"] == (1,)
    assert shapes["pose_net.encoder.conv1.weight"] == (64, 6, 7, 7)
    assert shapes["pose_net.decoder.3.weight"] == (12, 256, 1, 1)
    assert shapes["feat_net.layer2.block1.downsample.layers.conv.weight"] == (64, 32, 1, 1)
    assert shapes["feat_net.layer2.block16.block2.layers.bn.running_var"] == (64,)
    assert shapes["feat_net.last_conv.block.layers.conv.weight"] == (128, 320, 3, 3)
    assert shapes["feat_net.feature_conv.weight"] == (3, 32, 1, 1)


@pytest.mark.parametrize(("layers", "depth", "pose"), [(18, 1, 1), (34, 1, 1), (50, 4, 4), (101, 4, 4), (152, 4, 4)])
def test_every_resnet_depth(layers, depth, pose):
    shapes = _shapes(num_layers=layers)
    assert shapes["depth_net.encoder.fc.weight"] == (1000, 512 * depth)
    assert shapes["pose_net.encoder.fc.weight"] == (1000, 512 * pose)
    assert shapes["depth_net.decoder.0.conv.conv.weight"] == (256, 512 * depth, 3, 3)
    blocks = sum(name.startswith("pose_net.encoder.layer") and name.endswith(".conv1.weight") for name in shapes)
    assert blocks == (8 if layers < 50 else 16)


@torch.no_grad()
def test_wide_encoder_runs():
    disps = DepthNet(num_layers=50, scales=[0]).eval()(_images(1, 64, 64))
    assert disps["disp", 0].shape == (1, 1, 64, 64)
    axisangle, translation = PoseNet(num_layers=50).eval()(_images(1, 64, 64), _images(1, 64, 64))
    assert axisangle.shape == translation.shape == (1, 2, 1, 3)


@torch.no_grad()
def test_scales(model):
    images = _images()
    everything = model.depth_net(images)
    assert [(key, tuple(disp.shape[2:])) for key, disp in sorted(everything.items())] == [
        (("disp", s), (128 >> s, 160 >> s)) for s in range(4)
    ]
    some = model.depth_net(images, scales=[2])
    assert list(some) == [("disp", 2)] and torch.equal(some["disp", 2], everything["disp", 2])
    for scales in ([4], [], [0, 7]):
        with pytest.raises(ConfigError, match="scales"):
            model.depth_net(images, scales=scales)
    assert set(DepthNet(scales=[3, 1], use_skips=False).eval()(images)) == {("disp", 1), ("disp", 3)}


@pytest.mark.parametrize("branches", [[4], [16, 8], [32, 16, 8, 4, 2]])
@torch.no_grad()
def test_any_number_of_pooling_branches(branches):
    side = 4 * max(branches)
    net = FeatNet(spp_branches=branches, n_dims=5, activation="elu").eval()
    features = net(_images(1, side, side))
    assert features.shape == (1, 5, side, side)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(1, side, side))


@torch.no_grad()
def test_padding_is_cropped_and_norm_is_optional():
    net = FeatNet(im_pad=8, norm=False, spp_branches=[8]).eval()
    features = net(_images(1, 100, 131))  # no multiple of anything
    assert features.shape == (1, 3, 100, 131)
    assert (features.norm(dim=1) - 1).abs().max() > 0.01


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 19},
        {"num_layers": True},
        {"num_layers": [18]},
        {"preres": 1},
        {"scales": [0, 0]},
        {"scales": []},
        {"scales": [5]},
        {"scales": range(10**30)},
        {"scales": "0123"},
        {"scales": None},
        {"n_dims": 0},
        {"n_dims": 10**12},
        {"spp_branches": [0]},
        {"spp_branches": [4] * 1000},
        {"spp_branches": 4},
        {"activation": "gelu"},
        {"activation": ["relu"]},
        {"im_pad": -1},
        {"im_pad": 1.5},
        {"norm": "yes"},
    ],
    ids=lambda options: repr(options)[:40],
)
def test_options_that_no_network_has(options, tmp_path):
    with pytest.raises(ConfigError, match=next(iter(options))):
        DeFeatNet(**options)


def test_nothing_is_downloaded(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("download")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr("urllib.request.urlopen", fail)
    with torch.device("meta"):
        assert DeFeatNet(preres=True).options["preres"] is True


# Sizes


@pytest.mark.parametrize(("size", "features"), [((352, 480), True), ((128, 128), True), ((64, 96), False)])
def test_sizes_that_fit(size, features):
    check_size(size, features)


@pytest.mark.parametrize(
    ("size", "features"), [((353, 480), False), ((96, 480), True), ((32, 64), False), ((0, 0), False)]
)
def test_sizes_that_do_not_fit(size, features):
    with pytest.raises(FrameError, match=f"{size[1]}x{size[0]}.*multiples of 32"):
        check_size(size, features)


def test_smallest_size_depends_on_the_branches():
    check_size((64, 64), features=True, branches=[16, 8])
    check_size((96, 96), features=True, im_pad=16)
    with pytest.raises(FrameError, match="at least 256"):
        check_size((128, 128), features=True, branches=[64])


def test_networks_refuse_what_they_cannot_take(model):
    with pytest.raises(FrameError, match="160x100"):
        model.depth_net(_images(1, 100, 160))
    with pytest.raises(FrameError, match=r"160x96.*128"):
        model.feat_net(_images(1, 96, 160))
    with pytest.raises(FrameError, match="same shape"):
        model.pose_net(_images(1, 64, 64), _images(1, 64, 96))
    for wrong in (
        torch.zeros(3, 128, 128),
        torch.zeros(1, 1, 128, 128),
        torch.zeros(1, 3, 128, 128, dtype=torch.uint8),
    ):
        with pytest.raises(FrameError, match="expected"):
            model.depth_net(wrong)


@torch.no_grad()
def test_smallest_sizes_run(model):
    assert model.depth_net(_images(1, 64, 64))["disp", 0].shape == (1, 1, 64, 64)
    assert model.feat_net(_images(1, 128, 128)).shape == (1, 3, 128, 128)


# Training


def test_forward_trains_every_parameter():
    torch.manual_seed(0)
    model = DeFeatNet().train()
    frames = [_images(1, 128, 128, seed=i) for i in range(3)]
    disps, features, support, poses = model(frames[0], frames[1:], [-1, 1])
    total = sum(disp.sum() for disp in disps.values()) + (features * frames[0]).sum()
    total = total + sum((f * frames[0]).sum() for f in support) + sum(a.sum() + t.sum() for a, t in poses)
    total.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not any(".fc." in name for name, _ in model.named_parameters())
    assert sum(".fc." in name for name in model.state_dict()) == 4


def test_stages_finer_than_the_finest_scale_are_out_of_training():
    net = DepthNet(scales=[2, 3])
    sum(disp.sum() for disp in net(_images(2, 64, 64)).values()).backward()
    assert [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None] == []


@torch.no_grad()
def test_forward_orders_frames_in_time(model):
    target, before, after = (_images(seed=i) for i in range(3))
    disps, features, support, poses = model(target, [before, after], [-1, 1])
    torch.testing.assert_close(disps["disp", 0], model.depth_net(target)["disp", 0])
    torch.testing.assert_close(features, model.feat_net(target))
    torch.testing.assert_close(support[1], model.feat_net(after))
    for pose, pair in zip(poses, ((target, before), (after, target)), strict=True):
        torch.testing.assert_close(pose, model.pose_net(*pair))


def test_features_share_one_batch_norm_call():
    torch.manual_seed(0)
    model = DeFeatNet().train()
    frames = [_images(1, seed=i) for i in range(3)]
    with torch.no_grad():
        model(frames[0], frames[1:], [-1, 1])
    assert model.feat_net.first_conv.block1.layers.bn.num_batches_tracked == 1


# Weight files


def test_untrained_is_the_same_every_time_and_says_so(untrained, model, tmp_path):
    make_untrained(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == untrained.read_bytes()
    provenance = model.provenance
    assert provenance["trained"] is False and provenance["seed"] == 0 and "UNTRAINED" in provenance["note"]


@torch.no_grad()
def test_untrained_outputs_are_mild(model):
    images = _images()
    depth = 1 / (0.01 + 9.99 * model.depth_net(images)["disp", 0])
    assert 1 < depth.min() < depth.max() < 50 and depth.std() > 0.01
    features = model.feat_net(images)
    assert torch.isfinite(features).all() and features.std((2, 3)).max() > 0.01
    assert all(0 < motion.abs().max() < 0.01 for motion in model.pose_net(images, _images(seed=1)))


def test_options_survive_both_formats(model, tmp_path):
    options = {
        "num_layers": 34,
        "preres": True,
        "scales": [0, 2],
        "use_skips": False,
        "n_dims": 7,
        "spp_branches": [16, 4],
        "activation": "elu",
        "im_pad": 4,
        "norm": False,
    }
    make_untrained(tmp_path / "a", seed=1, **options)
    first = DeFeatNet.from_ckpt(tmp_path / "a")
    first.save_published(tmp_path / "b.pt")
    second = DeFeatNet.from_ckpt(tmp_path / "b.pt", key=lambda x: x["model"])
    second.save(tmp_path / "c", {"from": "b"})
    third = DeFeatNet.from_ckpt(tmp_path / "c")
    for restored in (first, second, third):
        assert restored.options == options and not restored.training
    assert (second.provenance, third.provenance) == ({}, {"from": "b"})
    assert len(third.sha256) == 64
    a, c = first.state_dict(), third.state_dict()
    assert a.keys() == c.keys() and all(torch.equal(a[name], c[name]) for name in a)
    start = model.feat_net.first_conv.block1.layers.conv.weight
    assert not torch.equal(start, first.feat_net.first_conv.block1.layers.conv.weight)  # another seed


def test_loaded_model_trains_and_shares_no_memory(checkpoint):
    model = DeFeatNet.load(checkpoint)
    assert all(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        model.pose_net.decoder[3].weight.zero_()
    assert checkpoint.state["pose_net.decoder.3.weight"].abs().max() > 0


def test_half_precision_file_restores_float32(model, tmp_path):
    model.save(tmp_path / "a", half=True)
    restored = DeFeatNet.from_ckpt(tmp_path / "a")
    assert {p.dtype for p in restored.parameters()} == {torch.float32}
    weight = model.feat_net.feature_conv.weight
    torch.testing.assert_close(restored.feat_net.feature_conv.weight, weight, rtol=1e-3, atol=1e-6)


def test_weights_of_another_architecture(checkpoint):
    message = _refused(_with(checkpoint, num_layers=50))
    assert "num_layers=50" in message and "depth_net.encoder.layer1.0.conv1.weight is (64, 64, 3, 3)" in message
    for strict in (True, False):
        assert "expected (16, 32, 1, 1)" in _refused(_with(checkpoint, n_dims=16), strict)


def test_strict_and_not(checkpoint):
    state = {**checkpoint.state, "ema.weight": torch.zeros(2)}
    del state["feat_net.feature_conv.weight"]
    message = _refused(replace(checkpoint, state=state))
    assert "feat_net.feature_conv.weight is missing" in message and "'ema.weight' is unexpected" in message
    bare = replace(checkpoint, state=state, options={"scales": [0, 1, 2, 3], "epoch": 7})
    assert "lacks 'num_layers'" in _refused(bare)
    assert "unknown 'epoch'" in _refused(_with(checkpoint, epoch=7))
    model = DeFeatNet.load(bare, strict=False)
    assert model.num_layers == 18
    assert torch.isfinite(model.feat_net.feature_conv.weight).all()
    assert torch.equal(model.pose_net.decoder[3].weight, checkpoint.state["pose_net.decoder.3.weight"])


@pytest.mark.parametrize("change", [{"activation": "gelu"}, {"n_dims": 10**9}, {"scales": [9]}, {"num_layers": "18"}])
def test_options_in_a_file_are_checked(checkpoint, tmp_path, change):
    path = tmp_path / "a"
    write_checkpoint(path, {"a": torch.zeros(1)}, {**checkpoint.options, **change}, {})
    with pytest.raises(CheckpointError, match=next(iter(change))):
        DeFeatNet.from_ckpt(path)


def test_foreign_weights_are_not_taken_for_ours(tmp_path):
    """Tolerance for missing weights must not end in a random network that passes for a loaded one."""
    foreign = tmp_path / "foreign.safetensors"
    write_checkpoint(foreign, {"encoder.conv1.weight": torch.zeros(2, 2)}, {}, {})
    with pytest.raises(CheckpointError, match="no weight of this model"):
        DeFeatNet.from_ckpt(foreign, strict=False)
