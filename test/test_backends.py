"""The runtimes of the networks: the same numbers as float32 PyTorch, or not used."""

import dataclasses
import json
import os
import sys

import numpy as np
import pytest
import torch

from defeat_ros import DeFeatNet, DepthEngine
from defeat_ros.errors import BackendError
from defeat_ros.inference.backends import build, prepare
from defeat_ros.inference.backends.build import make_backend
from defeat_ros.inference.backends.check import Difference, compare, plain, read_frames
from defeat_ros.inference.backends.choose import Choice, candidates, installed_runtimes, processor_flags
from defeat_ros.inference.backends.graphs import NETWORKS, graph_of
from defeat_ros.inference.backends.model_cache import MANIFEST, CacheEntry, ModelCache
from defeat_ros.inference.backends.prepare import Source, cache_facts
from defeat_ros.inference.backends.torch_runtime import TorchRuntime

SIZE_HW = (128, 160)
ALL = {"torch", "openvino", "onnxruntime"}


@pytest.fixture(scope="module")
def source(weights):
    return Source(Source.read(weights, ""), "", SIZE_HW)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return ModelCache(tmp_path_factory.mktemp("models"))


def needs(name):
    if name not in installed_runtimes():
        pytest.skip(f"{name} is not installed")


OTHER = {"num_layers": 50, "n_dims": 8, "spp_branches": [32, 16, 8, 4], "activation": "elu", "im_pad": 6, "norm": False}


@pytest.mark.parametrize("options", [{}, {**OTHER, "use_skips": False}], ids=["published", "other"])
def test_graphs_compute_what_the_networks_compute(options):
    torch.manual_seed(0)
    model = DeFeatNet(**options)
    model(torch.rand(2, 3, 128, 128), [torch.rand(2, 3, 128, 128)], [-1])  # batch norm that is not the identity
    model.eval()
    later, earlier = np.random.default_rng(0).integers(0, 256, (2, 128, 160, 3), np.uint8)
    runtime = TorchRuntime({name: graph_of(model, name) for name in NETWORKS}, "cpu", "float32")
    made = runtime.run({"disp": [later[None]], "features": [later[None]], "pose": [later[None], earlier[None]]})
    truth = plain(model, later, earlier, NETWORKS)
    for name in NETWORKS:
        assert made[name].shape == truth[name].shape and made[name].dtype == np.float32
        np.testing.assert_allclose(made[name], truth[name], rtol=1e-4, atol=1e-5 * np.abs(truth[name]).max())


def test_making_a_graph_leaves_the_model_alone(source):
    before = {name: tensor.clone() for name, tensor in source.model.state_dict().items()}
    for name in NETWORKS:
        graph_of(source.model, name)
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.model.state_dict().items())


@pytest.mark.parametrize("name", ["openvino", "torch", "onnxruntime"])
def test_each_runtime_agrees_with_float32_pytorch_on_real_frames(name, source, cache, shared_dir):
    import cv2

    from defeat_ros.preprocess import resize_image

    needs(name)
    built = make_backend(source, name, "cpu", cache=cache)
    assert built.backend.name == name and not built.warnings and built.difference.problem is None
    paths = sorted((shared_dir / "data" / "kitti_residential").glob("*.jpg"))[:6:2]
    paths += sorted((shared_dir / "data" / "night_path").glob("*.jpg"))[:2]
    frames = [resize_image(cv2.imread(str(path))[..., ::-1], SIZE_HW) for path in paths]
    pairs = list(zip(frames[1:], frames, strict=False))
    found = compare(
        built.backend._runtime, source.model, [(a.copy(), b.copy()) for a, b in pairs], ["disp", "features"]
    )
    assert found.problem is None, found


def test_results_stay_when_the_next_frame_comes(source, cache):
    backend = make_backend(source, device="cpu", cache=cache).backend
    (one, other), (day, _) = read_frames(SIZE_HW)
    first = backend.run(one, other, {"disp", "features", "pose"})
    kept = dataclasses.replace(first, disp=first.disp.copy(), features=first.features.copy())
    backend.run(day, one, {"disp", "features", "pose"})
    np.testing.assert_array_equal(first.disp, kept.disp)
    np.testing.assert_array_equal(first.features, kept.features)
    again = backend.run(one, other, {"disp", "features", "pose"})
    np.testing.assert_array_equal(again.disp, first.disp)
    assert backend.run(one, None, {"disp"}).features is None


def picks(*arguments):
    return [(choice.runtime, choice.device, choice.precision) for choice in candidates(*arguments)]


def test_auto_takes_what_is_fastest_on_this_processor():
    plain_one = ("torch", "cpu", "float32")
    assert picks("auto", "cpu", "auto", ALL, {"amx_bf16", "avx512_bf16"}) == [
        ("openvino", "cpu", "bfloat16"),
        ("openvino", "cpu", "float32"),
        plain_one,
    ]
    assert picks("auto", "cpu", "auto", ALL, {"avx2"}) == [("openvino", "cpu", "float32"), plain_one]
    assert picks("auto", "cpu", "auto", {"torch"}, {"avx512_bf16"})[0] == ("torch", "cpu", "bfloat16")
    assert picks("auto", "cpu", "auto", {"torch"}, set()) == [plain_one]
    assert picks("auto", "cuda:0", "auto", ALL, set()) == [
        ("torch", "cuda:0", "float16"),
        ("torch", "cuda:0", "float32"),
        plain_one,
    ]
    assert picks("onnxruntime", "cuda:0", "float16", ALL, set())[0] == ("onnxruntime", "cuda:0", "float16")
    assert picks("auto", "cpu", "float32", ALL, {"amx_bf16"})[0] == ("openvino", "cpu", "float32")
    assert "amx_bf16" in candidates("auto", "cpu", "auto", ALL, {"amx_bf16"})[0].reason


def test_a_backend_that_is_not_here_is_told_with_the_remedy():
    with pytest.raises(BackendError, match=r"'openvino', which is not installed: pip install openvino"):
        candidates("openvino", "cpu", "auto", {"torch"}, set())
    with pytest.raises(BackendError, match=r"'openvino' and device 'cuda:0', expected cpu"):
        candidates("openvino", "cuda:0", "auto", ALL, set())


def test_the_processor_is_known_here():
    assert processor_flags(), "nothing found in /proc/cpuinfo"


class Crooked:
    """The plain runtime with another depth."""

    name, device, precision = "torch", "cpu", "bfloat16"

    def __init__(self, runtime):
        self._runtime = runtime

    def run(self, inputs):
        made = self._runtime.run(inputs)
        if "disp" in made:
            made["disp"] = made["disp"] * np.float32(1.2)
        return made


def test_wrong_numbers_are_passed_over_with_a_warning(source, tmp_path, monkeypatch):
    real = prepare.open_runtime

    def open_runtime(choice, *rest):
        runtime = real(choice, *rest)
        return Crooked(runtime) if choice.precision == "bfloat16" else runtime

    monkeypatch.setattr(prepare, "open_runtime", open_runtime)
    monkeypatch.setattr(build, "open_runtime", open_runtime)
    built = make_backend(source, "torch", "cpu", "bfloat16", ModelCache(tmp_path))
    assert (built.backend.name, built.backend.precision) == ("torch", "float32")
    (warning,) = built.warnings
    assert "torch bfloat16 on cpu cannot be used" in warning and "depth_median" in warning and "of 0.01" in warning


@pytest.mark.parametrize(
    ("code", "told"),
    [("import os; os.kill(os.getpid(), 4)", "ended with -4"), ("raise SystemExit('no kernel')", "no kernel")],
)
def test_a_runtime_that_crashes_here_takes_nobody_along(source, tmp_path, monkeypatch, code, told):
    needs("openvino")
    monkeypatch.setattr(build, "command", lambda *_: [sys.executable, "-c", code])
    built = make_backend(source, "openvino", "cpu", "float32", ModelCache(tmp_path))
    assert built.backend.name == "torch" and told in built.warnings[0]


def test_the_second_start_takes_what_the_first_one_compiled(source, cache, monkeypatch):
    needs("openvino")
    first = make_backend(source, "openvino", "cpu", cache=cache)
    monkeypatch.setattr(build, "command", lambda *_: pytest.fail("compiled again"))
    second = make_backend(source, "openvino", "cpu", cache=cache)
    assert second.difference == first.difference
    (image, _), _ = read_frames(SIZE_HW)
    made = [built.backend.run(image, None, {"disp"}).disp for built in (first, second)]
    np.testing.assert_array_equal(*made)


def test_other_weights_size_or_code_are_another_entry(source, monkeypatch):
    choice = Choice("torch", "cpu", "float32", "")
    facts = cache_facts(choice, source)
    other = dataclasses.replace(source.checkpoint, sha256="0" * 64)
    assert cache_facts(choice, Source(other, "", SIZE_HW)) != facts
    assert cache_facts(choice, Source(source.checkpoint, "", (128, 192))) != facts
    assert cache_facts(dataclasses.replace(choice, precision="bfloat16"), source) != facts
    monkeypatch.setattr(prepare, "_code", lambda: "changed")
    assert cache_facts(choice, source) != facts
    assert cache_facts(choice, Source(source.checkpoint, "", (64, 96)))["networks"] == ["disp", "pose"]


FACTS = {"weights": "abc", "size": [1, 2]}


def stored(folder, **files):
    made = ModelCache(folder)
    made.store(FACTS, CacheEntry({name: data.encode() for name, data in files.items()}, {"n": 1}))
    (entry,) = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return made, entry


def test_the_cache_gives_back_what_it_was_given(tmp_path):
    made, entry = stored(tmp_path / "new", disp="1", pose="2")
    assert made.load(FACTS) == CacheEntry({"disp": b"1", "pose": b"2"}, {"n": 1})
    assert made.load({**FACTS, "size": [2, 1]}) is None
    assert all(not path.stat().st_mode & 0o077 for path in (entry, *entry.iterdir()))


@pytest.mark.parametrize(
    "how", ["cut", "flipped", "gone", "no manifest", "manifest", "others may write", "foreign name"]
)
def test_a_damaged_entry_is_not_there_and_can_be_stored_again(tmp_path, how):
    made, entry = stored(tmp_path / "models", disp="0123456789")
    if how == "cut":
        (entry / "disp").write_bytes(b"01234")
    elif how == "flipped":
        (entry / "disp").write_bytes(b"0123456780")
    elif how == "gone":
        (entry / "disp").unlink()
    elif how == "no manifest":
        (entry / MANIFEST).unlink()
    elif how == "manifest":
        (entry / MANIFEST).write_text("{")
    elif how == "others may write":
        (entry / "disp").chmod(0o666)
    else:
        told = json.loads((entry / MANIFEST).read_text())
        told["files"]["../../escaped"] = told["files"].pop("disp")
        (entry / MANIFEST).write_text(json.dumps(told))
    assert made.load(FACTS) is None
    made.store(FACTS, CacheEntry({"disp": b"new"}))
    assert made.load(FACTS) == CacheEntry({"disp": b"new"})


def test_a_cache_that_cannot_be_written_costs_time_only(source, tmp_path):
    (tmp_path / "file").write_text("")
    made = ModelCache(tmp_path / "file" / "models")
    assert not made.usable()
    made.store(FACTS, CacheEntry())
    assert made.load(FACTS) is None
    assert make_backend(source, device="cpu", cache=made).difference.problem is None


def test_old_entries_go_when_there_are_many(tmp_path):
    made = ModelCache(tmp_path)
    for number in range(20):
        made.store({"n": number}, CacheEntry({"a": b"x"}))
        os.utime(made._path({"n": number}), (number, number))
    made.store({"n": 20}, CacheEntry({"a": b"x"}))
    left = [number for number in range(21) if made.load({"n": number}) is not None]
    assert left == [*range(9, 21)]


def test_differences_that_are_too_large_are_named():
    assert Difference().problem is None
    assert "features 0.3 of 0.02" in Difference(features=0.3).problem
    assert "depth_p99 nan" in Difference(depth_p99=float("nan")).problem


def test_the_engine_says_what_runs_and_why(weights):
    info = DepthEngine.from_ckpt(weights, input_size=[96, 64]).info
    assert info.reason and info.backend in ALL and not info.warnings
