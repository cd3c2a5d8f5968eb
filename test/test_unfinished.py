"""`process` killed, without disk or permission: what is left can be read, and the same command goes on."""

import ctypes
import dataclasses
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mcap.exceptions import EndOfFile
from mcap.records import Channel, Message
from mcap.stream_reader import StreamReader
from rosbags.rosbag2 import Reader
from test_process import engine as small_engine
from test_process import write_bag

from defeat_ros import DepthEngine, files
from defeat_ros.cli import main
from defeat_ros.data.bag import BagReader, BagWriter, bag_messages
from defeat_ros.data.messages import stamp_from_message
from defeat_ros.errors import OutputError
from defeat_ros.files import sole_user
from defeat_ros.inference import process
from defeat_ros.inference.outputs import TOPICS
from defeat_ros.inference.process import process_bag
from defeat_ros.inference.unfinished import STATE

SIZE = "input_size=[96, 64]"
CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24


@pytest.fixture(scope="module")
def drive(tmp_path_factory) -> Path:
    """A rendered drive that stops for a while, with an image that cannot be used and one whose stamp repeats."""
    from defeat_ros.data.night_drive import DriveConfig, NightDrive
    from defeat_ros.data.synth import record_drive

    folder = tmp_path_factory.mktemp("drive")
    record_drive(NightDrive(DriveConfig(seconds=1.3, seed=4201, size=(320, 240))), folder / "plain")
    make, order = bag_messages(), [*range(6), 5, 5, *range(6, 13)]
    with BagReader(folder / "plain") as bag, BagWriter(folder / "in") as made:
        static = next(bag.messages({"/tf_static"}))
        made.write_cdr(static.topic, static.type, static.cdr, static.stamp_ns)
        by_topic = {
            name: list(bag.messages({name})) for name in bag.topics if name not in ("/tf_static", "/truth/depth")
        }
        for index, taken in enumerate(order):
            stamp = static.stamp_ns + (index - (index == 10)) * 10**8
            for name, messages in by_topic.items():
                message = messages[taken].message
                message.header.stamp = make.time(stamp)
                if index == 4 and name == "/camera/image_raw":
                    message.encoding = "zebra8"
                made.write(name, message, static.stamp_ns + index * 10**8)
    return folder / "in"


def full_engine(weights: Path) -> DepthEngine:
    return DepthEngine.from_ckpt(weights, scale={"camera_height_m": 1.5})


def run_all(drive: Path, out: Path, weights: Path, on_frame=lambda: None):
    return process_bag(drive, out, full_engine(weights), tuple(TOPICS), None, "/truth/odom", on_frame)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def frames_in(bag: Path) -> list[int]:
    """Stamps of the depth images of a bag, as our reader finds them."""
    with BagReader(bag) as reader:
        return [stamp_from_message(message.message) for message in reader.messages({"/depth/image_rect"})]


def test_wherever_it_is_killed_it_becomes_what_it_would_have_been(drive, weights, tmp_path, monkeypatch):
    """The folder as it lies on the disk after a frame is all that a killed process leaves."""
    done = []

    def keep_what_lies_there():
        done.append(len(done) + 1)
        if done[-1] in (5, 8, 13):  # driving, standing, and two frames after how far it is was kept
            shutil.copytree(tmp_path / "run" / "out", tmp_path / str(done[-1]) / "out")
        if done[-1] == 11:
            monkeypatch.setattr(process, "KEEP_EVERY_S", 1e9)

    monkeypatch.setattr(process, "KEEP_EVERY_S", 0.0)
    whole = run_all(drive, tmp_path / "run" / "out", weights, keep_what_lies_there)
    assert (whole.counts.received, whole.counts.pending, whole.earlier) == (15, 0, 0)
    assert whole.counts.dropped == {"rejected_duplicate_stamp": 1, "rejected_unknown_encoding": 1}
    for killed, earlier, dropped in ((5, 5, 1), (8, 8, 1), (13, 11, 2)):
        out = tmp_path / str(killed) / "out"
        assert STATE in contents(out) and len(frames_in(out)) == killed - dropped
        again = []
        gone_on = run_all(drive, out, weights, lambda again=again: again.append(1))
        assert (gone_on.earlier, len(again)) == (earlier, 15)
        assert gone_on.counts == whole.counts and gone_on.warnings == whole.warnings
        assert contents(out) == contents(tmp_path / "run" / "out"), f"killed after frame {killed}"


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Path:
    """A bag of 120 small images."""
    return write_bag(tmp_path_factory.mktemp("long") / "in", 120, spoil={9: {"encoding": "zebra8"}})


@pytest.fixture(scope="module")
def long_whole(long, weights, tmp_path_factory) -> dict[str, bytes]:
    """The result of a run that nothing disturbs."""
    out = tmp_path_factory.mktemp("long_whole") / "out"
    process_bag(long, out, small_engine(weights))
    return contents(out)


def command(source: Path, out: Path, weights: Path) -> list[str]:
    return ["process", str(source), str(out), "--checkpoint", str(weights), "--set", SIZE]


def start(line: list[str], **options) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "defeat_ros.cli", *line], **pipes, **options)


def test_killed_process_leaves_a_bag_that_anyone_can_read_and_goes_on(long, long_whole, weights, tmp_path, capsys):
    out = tmp_path / "out"
    running = start(command(long, out, weights))
    file = out / "out.mcap"
    while running.poll() is None and not (file.exists() and file.stat().st_size > 700_000):
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL and not (out / "metadata.yaml").exists()
    left = frames_in(out)
    assert 20 < len(left) < 119 and left == sorted(set(left))
    topics, by_others = {}, Counter()
    try:  # MCAP's own reader, which most tools build on
        with file.open("rb") as opened:
            for record in StreamReader(opened).records:
                if isinstance(record, Channel):
                    topics[record.id] = record.topic
                if isinstance(record, Message):
                    by_others[topics[record.channel_id]] += 1
    except EndOfFile:  # a chunk that was being written
        pass
    assert set(by_others.values()) == {len(left)} and len(by_others) == 3
    capsys.readouterr()
    assert main(command(long, out, weights)) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"defeat-ros: '{out}' is unfinished: going on with it\n")
    rows = dict([cell.strip() for cell in line.split("│")[1:3]] for line in printed.out.splitlines() if "│" in line)
    assert (rows["frames in"], rows["published"], rows["dropped: rejected_unknown_encoding"]) == ("120", "119", "1")
    assert int(rows.get("of these by an earlier run", 0)) <= len(left) + 1  # and the one that cannot be used
    assert contents(out) == long_whole
    with Reader(out) as reader:
        assert reader.message_count == 3 * 119
    assert main(command(long, out, weights)) == 1
    assert "exists already, expected a new path" in capsys.readouterr().err


def test_a_full_disk_is_one_line_that_tells_where_it_stands(long, long_whole, weights, tmp_path):
    """RLIMIT_FSIZE is the kernel's own refusal to write on."""
    out = tmp_path / "out"
    limit = 1_000_000
    running = start(
        command(long, out, weights), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    _, errors = running.communicate(timeout=120)
    left = frames_in(out)
    assert running.returncode == 1 and errors.count("\n") == 1 and len(left) > 20
    told = f"{len(left) + 2} images in: {len(left)} published, 1 not_written, 1 rejected_unknown_encoding"
    assert errors == f"defeat-ros: bag {out} cannot be written: File too large; {told}; the same command goes on\n"
    done = process_bag(long, out, small_engine(weights))
    assert (done.counts.received, done.counts.published, done.counts.pending) == (120, 119, 0)
    assert done.counts.dropped == {"rejected_unknown_encoding": 1}
    assert contents(out) == long_whole


def test_no_permission_is_one_line_and_leaves_nothing(long, weights, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o555)
    libc = ctypes.CDLL(None, use_errno=True)
    # Also root must ask: the program is started without the capability to pass by permissions.
    running = start(
        command(long, tmp_path / "shut" / "out", weights),
        preexec_fn=lambda: libc.prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0),
    )
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 1
    shut = tmp_path / "shut"
    assert errors == f"defeat-ros: bag {shut / 'out'} cannot be written: no permission to write in '{shut}'\n"
    assert not any((tmp_path / "shut").iterdir())


def test_a_disk_that_is_full_at_the_start_leaves_nothing(long, weights, tmp_path, monkeypatch):
    def no_space(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(OutputError, match="process.state': No space left on device$"):
        process_bag(long, tmp_path / "out", small_engine(weights))
    assert not any(tmp_path.iterdir())


class Stopped(Exception):
    """Ends a run in the middle."""


def unfinished(source: Path, out: Path, run: DepthEngine, frames: int = 5) -> None:
    count = 0

    def stop():
        nonlocal count
        count += 1
        if count == frames:
            raise Stopped

    with pytest.raises(Stopped), pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "KEEP_EVERY_S", 0.0)
        process_bag(source, out, run, on_frame=stop)


def test_it_goes_on_only_with_its_own(long, weights, tmp_path, capsys):
    out = tmp_path / "out"
    unfinished(long, out, small_engine(weights))
    before = contents(out)
    assert main([*command(long, out, weights), "--set", "confidence_min=0.4"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"defeat-ros: '{out}' is unfinished: going on with it",
        f"defeat-ros: '{out}' is unfinished, made with confidence_min 0.5, expected 0.4; "
        "remove it or name another path",
    ]
    run = small_engine(weights)

    def refused(why: str, source: Path = long, *options) -> None:
        with pytest.raises(OutputError, match=why):
            process_bag(source, out, run, *options)

    refused("made with topics .*'depth/camera_info', 'depth/image_rect', 'odom'., expected .'odom'.", long, ("odom",))
    refused("made with images 120, expected 7", write_bag(tmp_path / "other", 7))
    with sole_user(out):
        refused("is being filled by another process")
    assert contents(out) == before
    (out / STATE).write_bytes(before[STATE][:-1])
    refused(f"'{out / STATE}' is damaged; remove it or name another path")
    (out / STATE).write_bytes(before[STATE])
    (out / "out.mcap").write_bytes(before["out.mcap"][: len(before["out.mcap"]) // 2])
    refused(f"'{out / 'out.mcap'}' is damaged: expected .* bytes of chunks")


def test_a_memory_of_another_version_is_refused(long, weights, tmp_path, monkeypatch):
    unfinished(long, tmp_path / "out", small_engine(weights))
    monkeypatch.setattr(DepthEngine, "REMEMBERED", (*DepthEngine.REMEMBERED, "costs"))
    with pytest.raises(OutputError, match="made by another version"):
        process_bag(long, tmp_path / "out", small_engine(weights))


def test_a_cut_bag_adds_up_over_both_runs(weights, tmp_path):
    source = write_bag(tmp_path / "in", 30, spoil={3: {"encoding": "zebra8"}})
    file = source / "in.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    whole = process_bag(source, tmp_path / "whole" / "out", small_engine(weights))
    first = small_engine(weights)
    runs = f"{first.info.backend} {first.info.precision}"
    first.info = dataclasses.replace(first.info, device="cuda:0")  # the same numbers, on another machine's word
    unfinished(source, tmp_path / "out", first, 8)
    done = process_bag(source, tmp_path / "out", small_engine(weights))
    assert done.counts == whole.counts and done.counts.pending == 0
    assert set(done.warnings) == {*whole.warnings, f"the first 8 images were done by {runs} on cuda:0"}
    assert 8 < done.counts.received < 30 and done.counts.dropped == {"rejected_unknown_encoding": 1}
    assert contents(tmp_path / "out") == contents(tmp_path / "whole" / "out")


def test_images_before_the_start_are_passed_over(long):
    with BagReader(long) as bag:
        every, rest = list(bag.frames()), list(bag.frames(start=50))
    assert [frame.index for frame in rest] == list(range(50, 120))
    np.testing.assert_array_equal(rest[0].frame.image, every[50].frame.image)
