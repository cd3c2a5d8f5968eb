"""Bags onto the live graph and back: counts, bytes, pace, clock."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from rclpy.node import Node
from ros_tools import Process, camera, new_domain, picture, ros

from defeat_ros.data.bag import BagReader, BagWriter, bag_messages
from defeat_ros.data.messages import stamp_from_message
from defeat_ros.errors import SourceError
from defeat_ros.ros import bag_player
from defeat_ros.ros.bag_player import TURN_S, BagPlayer
from defeat_ros.ros.messages import message_class

PLAYER, RECORDER = "defeat_ros.ros.player", "defeat_ros.ros.recorder"
IMAGE, INFO, CLOCK = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo", "rosgraph_msgs/msg/Clock"
START, STEP, FRAMES = 10**18, 50_000_000, 21


def write_bag(path, width=64, height=48, frames=FRAMES, unknown=False):
    """A bag of one second at 20 Hz."""
    made = bag_messages()
    with BagWriter(path) as bag:
        for number in range(frames):
            stamp = START + number * STEP
            header = {"stamp_ns": stamp, "frame_id": "cam"}
            bag.write("/camera/camera_info", made.camera_info(camera(width, height), **header), stamp)
            bag.write("/camera/image_raw", made.image(picture(width, height, number), **header), stamp)
            if unknown:
                bag.write_cdr("/odd", "no_such_msgs/msg/Thing", b"\0\1\0\0", stamp)
    return path


@pytest.fixture
def start():
    """Starts processes and leaves none behind."""
    running = []

    def start(module, *args, domain):
        running.append(Process(module, *map(str, args), domain=domain))
        return running[-1]

    yield start
    for process in running:
        process.kill()


def test_a_bag_is_played_completely_with_a_clock(start, tmp_path):
    bag, domain = write_bag(tmp_path / "bag", unknown=True), new_domain()
    with ros(domain=domain) as r:
        images = r.listen("/camera/image_raw", IMAGE)
        infos = r.listen("/camera/camera_info", INFO)
        clocks = r.listen("/clock", CLOCK, depth=1000)
        args = ("--clock", "--wait-for-subscribers", 20, "--summary", tmp_path / "s.json")
        player = start(PLAYER, bag, *args, domain=domain)
        r.until(lambda: len(images) == len(infos) == FRAMES, "all messages")
        r.until(lambda: not player.running, "the end")
    assert player.end() == 0, player.output
    assert [stamp_from_message(message) for message in images] == [START + n * STEP for n in range(FRAMES)]
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["messages"] == {"/camera/camera_info": FRAMES, "/camera/image_raw": FRAMES}
    assert list(summary["skipped"]) == ["/odd"] and "no_such_msgs" in player.output
    assert summary["lateness_p50_ms"] < 20
    times = [message.clock.sec * 10**9 + message.clock.nanosec for message in clocks]
    assert times == sorted(times) and len(times) > 90
    assert times[0] >= START and times[-1] >= START + (FRAMES - 1) * STEP


def test_rate_topics_and_loop(start, tmp_path):
    bag, domain = write_bag(tmp_path / "bag"), new_domain()
    with ros(domain=domain) as r:
        images, came = r.listen("/camera/image_raw", IMAGE), []
        kind, note = message_class(IMAGE), lambda _: came.append(time.monotonic())
        r.node.create_subscription(kind, "/camera/image_raw", note, 100)
        args = ("--loop", "--rate", 10, "--topics", "/camera/image_raw", "--wait-for-subscribers", 20)
        player = start(PLAYER, bag, *args, domain=domain)
        r.until(lambda: len(images) > 2 * FRAMES, "the third loop")
        player.signal(signal.SIGINT)
        player.signal(signal.SIGINT)
        r.until(lambda: not player.running, "the end")
    assert player.end() == 0, player.output
    stamps = [stamp_from_message(message) for message in images]
    assert stamps[FRAMES] == stamps[0] == START
    assert came[FRAMES] - came[FRAMES - 1] > 0.8 * TURN_S, "what is in work comes out before time jumps back"
    assert list(json.loads(player.output.splitlines()[-1])["messages"]) == ["/camera/image_raw"]


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["/nowhere"], 1, "/nowhere"),
        (["BAG", "--topics", "/nothing"], 1, "'/nothing'"),
        (["BAG", "--rate", "0"], 2, "'0' is no rate, expected a positive number"),
        (["BAG", "--rate", "abc"], 2, "'abc' is no rate, expected a positive number"),
        (["BAG", "--wait-for-subscribers", "nan"], 2, "'nan' is no time to wait, expected seconds from 0"),
        (["BAG", "--summary", "/nonexistent/x"], 1, "summary /nonexistent/x cannot be written: No such file"),
    ],
)
def test_mistakes_are_one_line(start, tmp_path, arguments, status, text):
    bag = write_bag(tmp_path / "bag", frames=1)
    player = start(PLAYER, *[bag if a == "BAG" else a for a in arguments], domain=new_domain())
    assert player.end() == status
    assert text in player.output and "Traceback" not in player.output


def test_a_missing_topic_is_named(tmp_path):
    with ros() as r, BagReader(write_bag(tmp_path / "bag", frames=1)) as bag:
        node = r.add(Node("player", context=r.context, use_global_arguments=False))
        with pytest.raises(SourceError, match="'/nothing'"):
            BagPlayer(node, bag, ["/nothing"], False, threading.Event())


def test_what_is_played_is_recorded_byte_by_byte(start, tmp_path):
    """Large images too: 1242x375 rgb8 is 1.4 MB."""
    bag, domain = write_bag(tmp_path / "bag", 1242, 375), new_domain()
    player = start(PLAYER, bag, "--wait-for-subscribers", 20, domain=domain)
    recorder = start(RECORDER, tmp_path / "out", "--topics", "/camera/image_raw", "/camera/camera_info", domain=domain)
    recorder.wait_for("ready")
    assert player.end() == 0, player.output
    recorder.signal(signal.SIGINT)
    recorder.signal(signal.SIGINT)
    assert recorder.end() == 0, recorder.output
    assert json.loads(recorder.output.splitlines()[-1])["messages"]["/camera/image_raw"] == FRAMES
    with BagReader(bag) as played, BagReader(tmp_path / "out") as recorded:
        for topic in ("/camera/image_raw", "/camera/camera_info"):
            pairs = list(zip(played.messages([topic]), recorded.messages([topic]), strict=True))
            # The middleware may fill the end up to a multiple of four.
            assert all(b.cdr.startswith(a.cdr) and len(b.cdr) - len(a.cdr) < 4 for a, b in pairs)
            assert all(a.type == b.type for a, b in pairs)
            assert len(pairs) == FRAMES


def test_the_recorder_finds_all_topics_below_a_name(start, tmp_path):
    domain = new_domain()
    with ros(domain=domain) as r:
        from defeat_ros.ros.messages import FACTORY, message_class

        sender = r.node.create_publisher(message_class("std_msgs/msg/Float64"), "/robot/speed", 10)
        recorder = start(RECORDER, tmp_path / "out", "--all-under", "/robot", domain=domain)
        r.until(lambda: sender.get_subscription_count() > 0, "the recorder")
        for number in range(100):
            sender.publish(FACTORY.float64(number))
        recorder.wait_for("ready")
        recorder.signal(signal.SIGTERM)
        r.until(lambda: not recorder.running, "the end")
    assert recorder.end() == 0
    with BagReader(tmp_path / "out") as bag:
        assert [message.message.data for message in bag.messages(["/robot/speed"])] == list(range(100))


def test_the_recorder_refuses_an_existing_bag(start, tmp_path):
    recorder = start(RECORDER, write_bag(tmp_path / "bag", frames=1), "--topics", "/x", domain=new_domain())
    assert recorder.end() == 1 and "exists already" in recorder.output


def test_without_rclpy_the_player_says_what_is_missing():
    code = "import runpy, sys; sys.modules['rclpy'] = None; sys.argv[1:] = ['bag']; " + (
        f"runpy.run_module('{PLAYER}', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "rclpy cannot be imported" in done.stderr and "source the setup.bash" in done.stderr


def test_a_failed_start_keeps_the_summary_of_before(start, tmp_path):
    summary = tmp_path / "s.json"
    summary.write_text("{}")
    player = start(
        PLAYER, write_bag(tmp_path / "bag", frames=1), "--topics", "/x", "--summary", summary, domain=new_domain()
    )
    assert player.end() == 1 and summary.read_text() == "{}"


def test_memory_of_lateness_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(bag_player, "REMEMBERED", 10)
    with ros() as r, BagReader(write_bag(tmp_path / "bag")) as bag:
        node = r.add(Node("player", context=r.context, use_global_arguments=False))
        player = BagPlayer(node, bag, None, False, threading.Event())
        player.play(100.0, False)
        assert sum(player.counts.values()) == 2 * FRAMES and len(player.lateness_s) == 10
        assert player.summary()["lateness_p99_ms"] is not None
