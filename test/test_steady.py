"""Runtimes that fail in the middle: real engines whose runtime raises what drivers and libraries raise."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from fake_backend import FakeBackend
from test_process import CAMERA, STEP_NS, depths, picture, write_bag
from test_process import engine as small_engine

from defeat_ros import DepthEngine, Frame
from defeat_ros.errors import BackendError
from defeat_ros.inference.backends.build import remake
from defeat_ros.inference.backends.choose import PLAIN
from defeat_ros.inference.backends.steady import FAILURES_BEFORE_CHANGE, SteadyBackend, out_of_memory
from defeat_ros.inference.backends.torch_runtime import TorchRuntime
from defeat_ros.inference.process import process_bag
from defeat_ros.inference.weights import read_source

BROKEN = RuntimeError("Exception from src/inference/src/infer_request.cpp:\ncould not execute a primitive")
NO_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of ..."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
    RuntimeError("std::bad_alloc"),
]


class Breaks:
    """A runtime that raises in the runs of a network that `when` says, by their number from 0."""

    def __init__(self, runtime, error: Exception, when: Callable[[int], bool], network: str = "disp"):
        self.name, self.device, self.precision = runtime.name, runtime.device, runtime.precision
        self._runtime, self._error, self._when, self._network = runtime, error, when, network
        self.runs = 0

    def run(self, inputs):
        if self._network in inputs:
            self.runs += 1
            if self._when(self.runs - 1):
                raise self._error
        return self._runtime.run(inputs)


def breaking(engine: DepthEngine, *how) -> DepthEngine:
    backend = engine._backend._backend
    backend._runtime = Breaks(backend._runtime, *how)
    return engine


def frame(index: int) -> Frame:
    return Frame(picture(index), 10**18 + index * STEP_NS, "cam", CAMERA)


def depth(engine: DepthEngine, index: int) -> np.ndarray:
    return engine(frame(index), ("depth",)).depth


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("source") / "in", 12, spoil={10: {"encoding": "zebra8"}})


def test_a_run_that_fails_costs_its_frame_and_no_more(source, weights, tmp_path):
    engine = breaking(small_engine(weights), BROKEN, lambda run: run in (3, 4, 8))
    before = engine.info
    done = process_bag(source, tmp_path / "out", engine, ("depth/image_rect",))
    assert done.counts.dropped == {"failed_backend": 3, "rejected_unknown_encoding": 1}
    assert (done.counts.received, done.counts.published, done.counts.pending) == (12, 8, 0)
    assert engine.info == before and not engine.news()
    (told,) = [line for line in done.warnings if "failed_backend" in line]
    assert "could not execute a primitive" in told and told.endswith("(3 times)") and "\n" not in told
    assert [(stamp - 10**18) // STEP_NS for stamp, _, _ in depths(tmp_path / "out")] == [0, 1, 2, 5, 6, 7, 9, 11]


def test_a_frame_whose_motion_fails_is_one_too_and_the_next_begins_a_sequence(weights):
    engine = breaking(small_engine(weights), BROKEN, lambda run: run == 0, "pose")
    assert engine(frame(0), ("odometry",)).restart == "start"
    with pytest.raises(BackendError, match="could not execute a primitive"):
        engine(frame(1), ("odometry",))
    after = engine(frame(2), ("odometry",))
    assert (after.restart, after.odometry.segment, after.odometry.source) == ("gap", 1, "start")
    assert engine(frame(3), ("odometry",)).restart is None


def test_a_pose_net_that_fails_alone_leads_to_a_change_too(weights):
    """The runs of the depth net in between, which are well, must not hide it."""

    class Half:
        name = device = precision = "half"

        def run(self, image, earlier, want):
            if "pose" in want:
                raise BROKEN
            return FakeBackend().run(image, earlier, want)

    changes = []
    backend = SteadyBackend(Half(), FakeBackend, FakeBackend, lambda *told: changes.append(told))
    image = np.zeros((64, 96, 3), np.uint8)
    for _ in range(FAILURES_BEFORE_CHANGE - 1):
        backend.run(image, None, {"disp"})
        with pytest.raises(BackendError, match="could not execute"):
            backend.run(image, image, {"pose"})
    assert not changes
    backend.run(image, None, {"disp"})
    assert backend.run(image, image, {"pose"}).translation is not None and len(changes) == 1


def test_two_threads_whose_runs_fail_at_once_lead_to_one_change():
    both = threading.Barrier(2, timeout=10)

    class Meeting(FakeBackend):
        def run(self, image, earlier, want):
            both.wait()
            raise NO_MEMORY[1]

    class Full(FakeBackend):
        """Its memory is full also when tried again, by the one thread that does."""

        first = Meeting()

        def run(self, image, earlier, want):
            if threading.get_ident() not in seen:
                seen.add(threading.get_ident())
                self.first.run(image, earlier, want)
            raise NO_MEMORY[1]

    seen, made, told, outputs = set(), [], [], []

    def plain():
        made.append(FakeBackend())
        return made[-1]

    steady = SteadyBackend(Full(), plain, plain, lambda *change: told.append(change))
    image = np.zeros((8, 8, 3), np.uint8)
    threads = [threading.Thread(target=lambda: outputs.append(steady.run(image, None, {"disp"}))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(outputs) == 2 and all(output.disp is not None for output in outputs)
    assert len(made) == len(told) == 1 and "ran out of memory" in told[0][2]


def test_a_runtime_that_goes_on_failing_is_made_anew(source, weights, tmp_path):
    engine = breaking(small_engine(weights), BROKEN, lambda run: run >= 2)
    before = engine.info
    done = process_bag(source, tmp_path / "out", engine)
    lost = FAILURES_BEFORE_CHANGE - 1
    assert done.counts.dropped == {"failed_backend": lost, "rejected_unknown_encoding": 1}
    assert done.counts.published == 12 - lost - 1 and done.counts.pending == 0
    assert (engine.info.backend, engine.info.precision) == (before.backend, before.precision)
    (line,) = engine.info.warnings
    assert line in done.warnings and "failed 3 times in a row" in line and line.endswith("made anew")
    whole = process_bag(source, tmp_path / "whole", small_engine(weights), ("depth/image_rect",))
    assert whole.counts.published == 11
    theirs = {stamp: found for stamp, found, _ in depths(tmp_path / "whole")}
    for stamp, found, _ in depths(tmp_path / "out"):
        assert np.isfinite(found).any() == np.isfinite(theirs[stamp]).any()


@pytest.fixture
def fast(weights) -> DepthEngine:
    engine = small_engine(weights)
    if engine.info.backend == "torch":
        pytest.skip("needs a runtime other than torch")
    return engine


def always(error: Exception):
    def run(self, inputs):
        raise error

    return run


def test_where_making_anew_does_not_help_pytorch_takes_over(fast, monkeypatch):
    truth = depth(DepthEngine(fast.config, remake(PLAIN, read_source(fast.config))), 9)
    monkeypatch.setattr(type(fast._backend._backend._runtime), "run", always(BROKEN))
    for index in range(FAILURES_BEFORE_CHANGE - 1):
        with pytest.raises(BackendError, match="openvino .* failed: Exception from .*could not execute a primitive"):
            depth(fast, index)
    assert depth(fast, 8) is not None
    assert (fast.info.backend, fast.info.precision, fast.info.device) == ("torch", "float32", "cpu")
    (news,) = fast.news()
    assert news == fast.info.warnings[-1] and news.endswith("goes on with torch float32 on cpu, the plain one")
    assert not fast.news()
    fast.reset()
    np.testing.assert_allclose(depth(fast, 9), truth, rtol=1e-4)


def test_it_is_back_within_two_seconds_of_the_causes_end(fast, monkeypatch):
    """Nothing works, also not what is made anew; then it does, while an attempt is under way."""
    ended = []
    openvino_run, torch_run = type(fast._backend._backend._runtime).run, TorchRuntime.run

    def run_openvino(self, inputs):
        if not ended:
            raise BROKEN
        return openvino_run(self, inputs)

    def run_torch(self, inputs):
        attempts.append(1)
        if len(attempts) == 2:
            ended.append(time.monotonic())  # this run is the last that fails
        if len(attempts) <= 2:
            raise BROKEN
        return torch_run(self, inputs)

    attempts: list[int] = []
    monkeypatch.setattr(type(fast._backend._backend._runtime), "run", run_openvino)
    monkeypatch.setattr(TorchRuntime, "run", run_torch)
    failed = 0
    while True:
        try:
            depth(fast, failed)
            break
        except BackendError:
            failed += 1
    assert len(attempts) == 2 and failed >= FAILURES_BEFORE_CHANGE
    assert time.monotonic() - ended[0] < 2.0


def test_memory_that_runs_out_once_costs_nothing(weights):
    engine = breaking(small_engine(weights), NO_MEMORY[0], lambda run: run == 1)
    plain = small_engine(weights)
    for index in range(3):
        np.testing.assert_array_equal(depth(engine, index), depth(plain, index))
    assert not engine.news() and engine.info == plain.info


@pytest.mark.parametrize("error", NO_MEMORY[1:3], ids=["torch", "cublas"])
def test_memory_that_stays_out_moves_to_the_cpu_and_says_so(error, source, weights, tmp_path):
    engine = breaking(small_engine(weights), error, lambda run: run >= 4)
    done = process_bag(source, tmp_path / "out", engine)
    assert done.counts.dropped == {"rejected_unknown_encoding": 1} and done.counts.published == 11
    assert (engine.info.backend, engine.info.precision, engine.info.device) == ("torch", "float32", "cpu")
    (line,) = engine.info.warnings
    assert "ran out of memory" in line and "goes on with torch float32 on cpu" in line and line in done.warnings
    assert engine.info.reason.startswith("the plain one: ")


def test_what_means_out_of_memory():
    assert all(out_of_memory(error) for error in NO_MEMORY)
    assert not out_of_memory(BROKEN) and not out_of_memory(ValueError("memory format"))


def test_other_weights_in_the_place_of_ours_are_not_taken(weights, tmp_path):
    from defeat_ros.networks import make_untrained

    file = tmp_path / "weights.safetensors"
    file.write_bytes(weights.read_bytes())
    engine = breaking(small_engine(file), BROKEN, lambda run: True)
    file.unlink()
    make_untrained(file, seed=0)
    for index in range(FAILURES_BEFORE_CHANGE):
        with pytest.raises(BackendError) as caught:
            depth(engine, index)
    assert "is another file now" in str(caught.value)
