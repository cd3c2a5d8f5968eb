"""Many bags by several workers: real processes, real small bags, and what is left when workers are killed."""

import importlib.util
import io
import json
import os
import shutil
import signal
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_process import CAMERA, write_bag

from defeat_ros import DepthEngine
from defeat_ros.cli import main
from defeat_ros.data.bag import BagWriter, bag_messages
from defeat_ros.inference import fleet, process
from defeat_ros.inference.config import load_config
from defeat_ros.inference.cores import own_cores, share_cores
from defeat_ros.inference.fleet import Lost, Progress, give_orders, plan, run_fleet, sole_user
from defeat_ros.inference.fleet_job import Job, Orders, Outcome, do_job, remove_partial
from defeat_ros.inference.fleet_local import LocalWorkers
from defeat_ros.inference.ledger import LedgerCounts
from defeat_ros.inference.process import DEFAULT_TOPICS, process_bag

FRAMES = {"a": 60, "b": 80, "c": 40}
SIZE = "input_size=[96, 64]"


@pytest.fixture(scope="module")
def drives(tmp_path_factory) -> Path:
    """Bags in a folder; a has a frame that cannot be used, b no camera_info."""
    folder = tmp_path_factory.mktemp("drives")
    for name, count in FRAMES.items():
        spoil = {3: {"encoding": "zebra8"}} if name == "a" else None
        write_bag(folder / name, count, camera=None if name == "b" else CAMERA, spoil=spoil)
    return folder


@pytest.fixture(scope="module")
def alone(drives, weights, tmp_path_factory) -> dict[str, bytes]:
    """Results of each bag processed by itself on one core."""
    folder = tmp_path_factory.mktemp("alone")
    with own_cores(1):
        for name in FRAMES:
            engine = DepthEngine.from_ckpt(weights, input_size=[96, 64])
            process_bag(drives / name, folder / name, engine)
    return {name: (folder / name / f"{name}.mcap").read_bytes() for name in FRAMES}


def orders_for(folder: Path, weights: Path) -> Orders:
    config = load_config(None, {"checkpoint": str(weights), "input_size": [96, 64]})
    return give_orders(folder, config, DEFAULT_TOPICS)


def command(weights: Path, *arguments: object) -> list[str]:
    return ["process", *map(str, arguments), "--checkpoint", str(weights), "--set", SIZE]


def results(folder: Path) -> dict[str, bytes]:
    """What lies in the folder of results, hidden things and all."""
    return {path.name: (path / f"{path.name}.mcap").read_bytes() for path in folder.iterdir()}


def failing(capsys, *arguments: object) -> str:
    """Run a command that must fail with one line, which is returned."""
    assert main([str(a) for a in arguments]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("defeat-ros: "), error
    return error


@dataclass
class Run:
    """What a command returned, printed and left."""

    code: int
    out: str
    err: str
    folder: Path


@pytest.fixture(scope="module")
def by_two(drives, weights, tmp_path_factory) -> Run:
    """Two good bags and three of no use, by two workers."""
    folder = tmp_path_factory.mktemp("by_two")
    (folder / "torn.mcap").write_bytes((drives / "c" / "c.mcap").read_bytes()[:100])
    with BagWriter(folder / "blind") as bag:
        bag.write("/tf_static", bag_messages().transforms([], stamp_ns=10**18), 10**18)
    bags = [folder / "torn.mcap", drives / "a", folder / "blind", drives / "b", folder / "nowhere"]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        code = main(command(weights, *bags, folder / "out", "--workers", 2))
    return Run(code, out.getvalue(), err.getvalue(), folder / "out")


def half_done(source: Path, out: Path, weights: Path, frames: int) -> None:
    """What a worker leaves that is killed after so many images."""
    done = []

    def on_frame() -> None:
        done.append(1)
        if len(done) == frames:
            raise InterruptedError

    with own_cores(1), pytest.raises(InterruptedError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "KEEP_EVERY_S", 0.0)
        process_bag(source, out, DepthEngine.from_ckpt(weights, input_size=[96, 64]), on_frame=on_frame)


class Killer:
    """Kills the worker of a bag in the middle of it, a number of times; keeps what happens otherwise."""

    def __init__(self, times: dict[str, int]) -> None:
        self.left, self.killed, self.events = Counter(times), set(), []

    def __call__(self, event) -> None:
        if not isinstance(event, Progress):
            self.events.append(event)
        elif self.left[event.name] > 0 and event.pid not in self.killed:
            self.left[event.name] -= 1
            self.killed.add(event.pid)
            os.kill(event.pid, signal.SIGKILL)


def test_two_workers_give_the_bytes_of_one_by_one(by_two, alone):
    assert results(by_two.folder) == {"a": alone["a"], "b": alone["b"]}


def test_the_table_accounts_for_every_frame(by_two):
    rows = [[cell.strip() for cell in line.split("│")] for line in by_two.out.splitlines()]
    cells = {row[1]: row[2:6] for row in rows if len(row) > 6}
    assert cells["a"] == ["done", "60", "59", "1 rejected_unknown_encoding"]
    assert cells["b"] == ["done", "80", "80", "0"]
    assert cells["torn"] == cells["blind"] == cells["nowhere"] == ["failed", "-", "-", "-"]
    assert cells["total"] == ["", "140", "139", "1 rejected_unknown_encoding"]
    record = json.loads((by_two.folder / "a" / "process.json").read_text())
    assert record["counts"] == {"received": 60, "published": 59, "dropped": {"rejected_unknown_encoding": 1}}


def test_bags_that_cannot_be_used_fail_alone(by_two):
    lines = by_two.err.splitlines()
    assert any(line.startswith("defeat-ros: torn: failed: bag ") for line in lines)
    assert any(line.startswith("defeat-ros: blind: failed: ") and "no image topic" in line for line in lines)
    assert any(line.startswith("defeat-ros: nowhere: failed: ") and "does not exist" in line for line in lines)
    assert (by_two.code, lines[-1]) == (1, "defeat-ros: 3 of 5 bags failed: torn, blind, nowhere")


def test_warnings_name_their_bag(by_two):
    assert "defeat-ros: a: images rejected (unknown_encoding)" in by_two.err
    assert "defeat-ros: b: no camera_info" in by_two.err


def test_going_on_keeps_what_is_complete(by_two, drives, alone, weights, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(by_two.folder, out)
    shutil.rmtree(out / "b")  # its worker was killed, and one before it too, before it began
    half_done(drives / "b", out / ".partial-b" / "1-1" / "b", weights, 30)
    (out / ".partial-b" / "2-2").mkdir()
    orders = orders_for(out, weights)
    jobs, known = plan(orders, [drives / "a", drives / "b"])
    assert [(outcome.name, outcome.kept) for outcome in known] == [("a", True)]
    perceived, perceive = [], DepthEngine.perceive
    monkeypatch.setattr(DepthEngine, "perceive", lambda *about: perceived.append(1) or perceive(*about))
    with own_cores(1):
        assert [do_job(orders, job).problem for job in jobs] == [""]
    assert len(perceived) == FRAMES["b"] - 30
    assert results(out) == {"a": alone["a"], "b": alone["b"]}

    line = command(weights, drives / "a", drives / "b", out)
    assert main(line) == 0
    printed = capsys.readouterr()
    assert [f"{name}: complete before, kept" in printed.err for name in "ab"] == [True, True]
    assert printed.out.count("kept") == 2 and " 140 " in printed.out
    assert "made with confidence_min 0.5, expected 0.4" in failing(capsys, *line, "--set", "confidence_min=0.4")


def test_what_another_version_left_is_made_anew(drives, alone, weights, tmp_path, monkeypatch):
    orders = orders_for(tmp_path / "out", weights)
    hidden = orders.folder / ".partial-b"
    half_done(drives / "b", hidden / "1-1" / "b", weights, 30)
    shutil.copytree(hidden / "1-1", hidden / "2-2")
    monkeypatch.setattr(DepthEngine, "REMEMBERED", DepthEngine.REMEMBERED[:2])
    jobs, _ = plan(orders, [drives / "b"])
    with own_cores(1):
        assert [do_job(orders, job).problem for job in jobs] == [""]
    assert results(orders.folder) == {"b": alone["b"]}


def test_killed_workers_lose_nothing_and_a_bag_that_kills_them_fails_alone(drives, alone, weights, tmp_path):
    orders = orders_for(tmp_path / "out", weights)
    killer = Killer({"a": 1, "b": 3})
    with sole_user(orders.folder):
        jobs, known = plan(orders, [drives / name for name in FRAMES])
        assert not known
        outcomes = {outcome.name: outcome for outcome in run_fleet(orders, jobs, LocalWorkers(orders, 2), killer)}
    lost = [(event.name, event.again) for event in killer.events if isinstance(event, Lost)]
    assert sorted(lost) == [("a", True), ("b", False), ("b", True), ("b", True)]
    assert (orders.folder / ".partial-b").is_dir(), "what was done is kept: the same command may get further"
    remove_partial(orders.folder, "b")
    assert results(orders.folder) == {"a": alone["a"], "c": alone["c"]}
    assert "3 workers died over it" in outcomes["b"].problem and "SIGKILL" in outcomes["b"].problem
    for name in "ac":
        counts = outcomes[name].counts
        assert not outcomes[name].problem and counts.received == FRAMES[name] and counts.pending == 0


def test_an_interrupt_ends_the_workers_and_keeps_complete_bags(drives, alone, weights, tmp_path):
    orders = orders_for(tmp_path / "out", weights)
    pids = set()

    def interrupt(event):
        if isinstance(event, Progress):
            pids.add(event.pid)
            if event.name == "a":
                raise KeyboardInterrupt

    with sole_user(orders.folder), pytest.raises(KeyboardInterrupt):
        jobs, _ = plan(orders, [drives / "c", drives / "a"])
        run_fleet(orders, jobs, LocalWorkers(orders, 1), interrupt)
    assert {path.name for path in orders.folder.iterdir()} == {"c", ".partial-a"}
    assert len(pids) == 1, "a worker goes on with the next bag"
    with pytest.raises(ProcessLookupError):
        os.kill(pids.pop(), 0)
    with sole_user(orders.folder), own_cores(1):
        jobs, known = plan(orders, [drives / "c", drives / "a"])
        assert [outcome.name for outcome in known] == ["c"] and not do_job(orders, jobs[0]).problem
    assert results(orders.folder) == {name: alone[name] for name in "ac"}


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray")
def test_ray_does_the_same_and_survives_a_killed_worker(drives, alone, weights, tmp_path):
    from defeat_ros.inference.fleet_ray import RayWorkers

    orders = orders_for(tmp_path / "out", weights)
    killer = Killer({"b": 1})
    with sole_user(orders.folder):
        jobs, _ = plan(orders, [drives / "a", drives / "b"])
        outcomes = run_fleet(orders, jobs, RayWorkers(orders, len(jobs), "local", workers=2), killer)
    assert [type(event) for event in killer.events if event.name == "b"] == [Lost, Outcome]
    assert results(orders.folder) == {"a": alone["a"], "b": alone["b"]}
    assert {outcome.name: outcome.counts.received for outcome in outcomes} == {"a": 60, "b": 80}


def test_mistakes_are_one_line(drives, weights, tmp_path, capsys, monkeypatch):
    (tmp_path / "other").mkdir()
    write_bag(tmp_path / "other" / "a", 1)
    out, two = tmp_path / "out", (drives / "a", drives / "b")
    same = failing(capsys, *command(weights, drives / "a", tmp_path / "other" / "a", out))
    assert "both called 'a'" in same and str(tmp_path / "other" / "a") in same
    assert "--workers is 0" in failing(capsys, *command(weights, *two, out, "--workers", 0))
    assert "--workers is 2 with one IN_BAG" in failing(capsys, *command(weights, drives / "a", out, "--workers", 2))
    assert "'depth/zebra' is unknown" in failing(capsys, *command(weights, *two, out), "--topics", "depth/zebra")
    assert "nowhere.pt" in failing(capsys, *command(tmp_path / "nowhere.pt", *two, out))
    assert not out.exists()
    assert "'a' is a bag" in failing(capsys, *command(weights, *two, drives / "c")).replace(str(drives / "c"), "a")
    assert "in its own place" in failing(capsys, *command(weights, *two, drives))
    (tmp_path / "full" / "a").mkdir(parents=True)
    assert "no process.json says" in failing(capsys, *command(weights, *two, tmp_path / "full"))
    with sole_user(out):
        assert "is being filled by another process" in failing(capsys, *command(weights, *two, out))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install ray" in failing(capsys, *command(weights, *two, out, "--ray", "local"))


class FarWorkers:
    """Workers that say they are done, on a machine with a folder of its own."""

    count = 1

    def start(self, job: Job) -> None:
        self.name = job.name

    def wait(self) -> list[fleet.Event]:
        return [Outcome(self.name, LedgerCounts(60, 60))]

    def close(self) -> None:
        self.name = ""


def test_results_that_went_elsewhere_are_not_called_complete(drives, weights, tmp_path):
    orders = orders_for(tmp_path / "out", weights)
    with sole_user(orders.folder):
        (outcome,) = run_fleet(orders, plan(orders, [drives / "a"])[0], FarWorkers())
    assert "expected shared storage" in outcome.problem and outcome.counts.received == 0


def test_cores_are_shared_out():
    assert [share_cores([8], workers) for workers in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    assert share_cores([16, 16], 3) == 8 and share_cores([16, 4], 3) == 5 and share_cores([], 1) == 1
    before = os.sched_getaffinity(0)
    with own_cores(1) as mine:
        assert len(mine) == 1 and mine <= before and os.sched_getaffinity(0) == mine
        with own_cores(1) as shared:
            assert shared == mine, "none is free"
    assert os.sched_getaffinity(0) == before


def test_bags_have_the_names_that_are_typed(drives, tmp_path, monkeypatch):
    monkeypatch.chdir(drives / "a")
    (tmp_path / "link").symlink_to(drives / "a")
    names = [fleet.bag_name(Path(text)) for text in (".", "../b/", "..", "x/night.mcap", "x/day.2", tmp_path / "link")]
    assert names == ["a", "b", drives.name, "night", "day.2", "link"]
