"""What a robot's day does to the live node: each fault must be told, cost no more than its own frames, and pass."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from lifecycle_msgs.msg import Transition
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_tools import IMAGE, Bench, Camera, FakeEngine, Process, camera, environment, new_domain, picture, ros

from defeat_ros.data.messages import stamp_from_message
from defeat_ros.ros import proc
from defeat_ros.ros.messages import message_class

MS = 1_000_000
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
RECOVERY_S = 2.0
DEAF = """
import time, rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("deaf")
kept = node.create_subscription(Image, "depth/image_rect", lambda message: None, QoSProfile(depth=5))
while node.count_publishers("depth/image_rect") == 0 or kept.get_publisher_count() == 0:
    time.sleep(0.02)
print("listening", flush=True)
rclpy.spin(node)
"""


class Faults(Bench):
    """A bench that also hears what the node says of its frames."""

    def __init__(self, r, *topics, **parameters):
        super().__init__(r, **parameters)
        self.diagnostics = r.listen("/diagnostics", DIAGNOSTICS)
        (self.depths,) = self.listen(*(topics or ["depth/image_rect"]))
        self.stamp = 0

    def send(self, count=1, step_ns=100 * MS, **changes):
        """Images, each waited for until the node has booked it."""
        for _ in range(count):
            self.stamp += step_ns
            before = self.node.counts.received
            self.camera.send(self.stamp, **changes)
            self.ros.until(lambda n=before: self.node.counts.received == n + 1 and self.settled(), "the booking")

    def message(self):
        """What the newest diagnostics say of the frames."""
        statuses = [one for array in self.diagnostics for one in array.status if one.name.endswith(": frames")]
        return statuses[-1].message if statuses else ""

    def told(self, text):
        self.ros.until(lambda: text in self.message(), f"diagnostics with {text!r}, not {self.message()!r}")

    def recovers(self):
        """The next image gives depth, and diagnostics are well again; within the time that is promised."""
        seen, began = len(self.depths), time.monotonic()
        while not (len(self.depths) > seen and self.message().endswith(" Hz")):
            assert time.monotonic() - began < RECOVERY_S, self.message()
            self.send()
            self.ros.executor.spin_once(timeout_sec=0.05)


def test_a_camera_stops_and_returns():
    with ros() as r:
        bench = Faults(r, **{"diagnostics.silence_s": 0.3})
        bench.send(3)
        bench.told("the camera is silent")
        bench.recovers()
        assert bench.node.counts.dropped == {}


def test_a_stalled_device_is_told_and_the_camera_goes_on():
    with ros() as r:
        bench = Faults(r, **{"diagnostics.stall_s": 0.3})
        bench.send(2)
        bench.engine.gate = threading.Event()
        bench.camera.send(bench.stamp + 50 * MS)
        r.until(lambda: len(bench.engine.calls) == 3, "the stall")
        for number in range(5):
            bench.camera.send(bench.stamp + (60 + number) * MS)
        r.until(lambda: bench.node.counts.received == 8, "the images behind it")
        bench.told("stalled: decoding and the networks of one image")
        bench.engine.gate.set()
        r.until(bench.settled, "the end of the stall")
        bench.recovers()
        counts = bench.node.counts
        assert counts.dropped == {"superseded": 4} and counts.published == counts.received - 4


def flood(seconds):
    with ros() as r:
        bench = Faults(r, **{"diagnostics.superseded_share": 0.7})

        class Slow(FakeEngine):
            def perceive(self, frame, want):
                time.sleep(0.05)  # 20 images a second
                return super().perceive(frame, want)

        bench.node._engine = Slow(bench.node._config)
        began, sent, late = time.monotonic(), 0, []
        bench.ros.node.create_subscription(
            message_class(IMAGE), "depth/image_rect",
            lambda message: late.append(time.monotonic_ns() - stamp_from_message(message)), 10,
        )  # fmt: skip
        while time.monotonic() < began + seconds:
            bench.camera.send(time.monotonic_ns())
            sent += 1
            r.until(lambda n=sent: time.monotonic() > began + n / 200, "the next image")
        bench.told("a flood: ")
        r.until(bench.settled, "the end of the flood")
        counts = bench.node.counts  # the queue of DDS, five images, keeps the newest: what it replaced never arrived
        assert set(counts.dropped) == {"superseded"} and 0.5 * sent < counts.received <= sent
        assert counts.published > 10 * seconds and sorted(late)[len(late) // 2] < 300 * MS  # the newest, never a queue
        bench.node._engine = FakeEngine(bench.node._config)
        seen = len(bench.depths)
        bench.camera.send(time.monotonic_ns())
        r.until(lambda: len(bench.depths) > seen, "depth after the flood", RECOVERY_S)


def test_ten_times_the_rate_keeps_latency_and_count():
    flood(5.0)


@pytest.mark.slow
def test_ten_times_the_rate_for_a_minute():
    flood(60.0)


def test_a_subscriber_that_hangs_holds_nobody_up():
    domain = new_domain()
    with ros(domain=domain) as r:
        bench = Faults(r)
        bench.camera = Camera(r, 480, 352)  # 676 kB of depth a frame: the queue for the one that hangs fills up
        bench.camera.connect()
        deaf = subprocess.Popen([sys.executable, "-c", DEAF], env=environment(domain), stdout=subprocess.PIPE)
        try:
            assert deaf.stdout.readline() == b"listening\n"
            bench.send(3)
            deaf.send_signal(signal.SIGSTOP)
            slowest = 0.0
            for _ in range(60):
                began, seen = time.monotonic(), len(bench.depths)
                bench.send()
                r.until(lambda n=seen: len(bench.depths) > n, "depth for the other one")
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 1.0 and bench.node.counts.dropped == {}
        finally:
            deaf.kill()
            deaf.wait()
        bench.recovers()


def test_late_and_incompatible_subscribers(capfd):
    with ros() as r:
        bench = Faults(r)
        bench.send(2)
        latched = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        r.node.create_subscription(message_class(IMAGE), "depth/image_rect", lambda message: None, latched)
        confidences = r.listen("depth/confidence", IMAGE)
        r.until(lambda: "depth/confidence" in bench.node._outputs.topics(), "the late subscriber")
        bench.send(2)
        r.until(lambda: len(confidences) == 2 and len(bench.depths) == 4, "results for both")
        r.until(lambda: "incompatible" in capfd.readouterr().err, "a word of the one that can hear nothing")


def test_a_hundred_lives_leave_nothing_behind():
    with ros() as r:
        bench = Faults(r)
        steps = [Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP]
        steps += [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE]

        def lives(count):
            for _ in range(count):
                assert all(bench.change(step) for step in steps)
            bench.engines[:-1] = []
            pid = os.getpid()
            return proc.memory_mb(pid), proc.threads(pid), proc.handles(pid)

        lives(20)
        before = lives(20)
        after = lives(80)
        assert after[1:] == before[1:] and after[0] - before[0] < 8.0, (before, after)
        r.until(lambda: bench.node._outputs.topics() == {"depth/image_rect"}, "the subscriber")
        bench.camera.connect()
        bench.recovers()


def test_stamps_that_repeat_go_back_or_lie_ahead():
    with ros() as r:
        bench = Faults(r)
        bench.send(3)
        bench.send(step_ns=0)  # the fake engine takes it; see test_real_faults for what the real one says
        bench.send(step_ns=-200 * MS)
        bench.send(step_ns=3600 * 10**9)
        bench.send(step_ns=-3600 * 10**9)
        assert len(bench.depths) == bench.node.counts.published == 7


def real_line(weights):
    settings = [f"checkpoint:={weights}", "input_size:=[96, 64]", "backend:=torch", "diagnostics.silence_s:=0.5"]
    return ["--ros-args", *(word for setting in settings for word in ("-p", setting))]


@pytest.fixture(scope="module")
def real(weights):
    """Domain of a node with the real engine at a small size, in a process of its own."""
    domain = new_domain()
    process = Process("defeat_ros.ros.node", *real_line(weights), domain=domain)
    try:
        process.wait_for("active:", 60.0)
        yield domain
    finally:
        process.kill()


class Live:
    """The real node, seen from outside."""

    def __init__(self, r):
        self.ros, self.camera = r, Camera(r, 96, 64)
        self.depths = r.listen("depth/image_rect", IMAGE)
        self.odoms = r.listen("odom", "nav_msgs/msg/Odometry")
        self.diagnostics = r.listen("/diagnostics", DIAGNOSTICS)
        self.camera.connect()
        r.until(lambda: r.node.count_publishers("depth/image_rect"), "the node")
        r.until(self.ledger, "the node's diagnostics")
        self.stamp, self.sent, self.before = time.time_ns(), 0, self.ledger()

    def ledger(self):
        """Counts by name, as diagnostics told them last."""
        for array in reversed(self.diagnostics):
            for status in array.status:
                if status.name.endswith(": frames"):
                    told = {item.key: item.value for item in status.values}
                    return {
                        key: int(told[key]) for key in told if key.split()[0] in {"received", "published", "dropped"}
                    }
        return {}

    def grown(self):
        """By what the ledger grew since the start."""
        now = self.ledger()
        return {key: now[key] - self.before.get(key, 0) for key in now if now[key] != self.before.get(key, 0)}

    def booked(self, **expected):
        """Wait until the ledger has grown by what is expected, and by nothing else."""

        wanted = {key.replace("_", " ", 1) if key.startswith("dropped") else key: n for key, n in expected.items()}
        try:
            self.ros.until(lambda: self.grown() == wanted)
        except AssertionError:
            raise AssertionError(f"the ledger grew by {self.grown()}, expected {wanted}") from None

    def send(self, step_ns=100 * MS, **changes):
        self.stamp += step_ns
        self.sent += 1
        self.camera.send(self.stamp, **changes)

    def refused(self, step_ns=100 * MS, **changes):
        """One image, and a word in the ledger that it came: a newer one must not replace it."""
        self.send(step_ns, **changes)
        self.ros.until(lambda: self.grown().get("received") == self.sent, "the booking")

    def answered(self, step_ns=100 * MS, **changes):
        """One image, and depth for it."""
        self.send(step_ns, **changes)
        stamp = self.stamp
        self.ros.until(lambda: self.depths and stamp_from_message(self.depths[-1]) == stamp, "its depth")
        return self.depths[-1]


def test_size_encoding_and_calibration_change_in_the_middle(real):
    with ros(domain=real) as r:
        live = Live(r)
        live.answered()
        live.answered()
        live.camera.image, live.camera.camera = picture(160, 120), camera(160, 120)
        depth = live.answered()
        assert (depth.width, depth.height) == (160, 120)
        live.camera.image = live.camera.image[..., 0].copy()  # mono8
        live.answered()
        live.camera.image = picture(160, 120)
        live.answered(encoding="bgr8")
        live.camera.camera = camera(96, 64)  # of another size than the images
        live.answered()
        live.refused(encoding="moving")
        live.camera.image, live.camera.camera = picture(96, 64), camera(96, 64)
        live.answered()
        live.booked(received=8, published=7, dropped_rejected_unknown_encoding=1)


def test_time_repeats_goes_back_and_comes_from_the_future(real):
    with ros(domain=real) as r:
        live = Live(r)
        live.answered()
        live.answered()
        live.refused(step_ns=0)
        live.answered()
        live.answered(step_ns=-500 * MS)
        live.answered(step_ns=3600 * 10**9)
        live.answered(step_ns=-3600 * 10**9)
        live.answered()
        live.booked(received=8, published=7, dropped_rejected_duplicate_stamp=1)
        steps = [odom.pose.pose.position for odom in live.odoms]
        assert all(abs(value) < 1e3 for step in steps for value in (step.x, step.y, step.z))


def test_the_real_node_is_killed_and_started_again(weights):
    domain = new_domain()
    lives = [Process("defeat_ros.ros.node", *real_line(weights), domain=domain)]
    try:
        lives[0].wait_for("active:", 60.0)
        with ros(domain=domain) as r:
            live = Live(r)
            live.answered()
            lives[0].signal(signal.SIGKILL)
            assert lives[0].end() == -signal.SIGKILL
            lives.append(Process("defeat_ros.ros.node", *real_line(weights), domain=domain))
            lives[1].wait_for("active:", 60.0)
            began, seen = time.monotonic(), len(live.depths)
            while len(live.depths) == seen:
                live.send()
                until = time.monotonic() + 0.1
                r.until(lambda end=until: time.monotonic() > end, "the next image")
            assert time.monotonic() - began < RECOVERY_S
            lives[1].signal(signal.SIGINT)
            assert lives[1].end() == 0, lives[1].output
    finally:
        for process in lives:
            process.kill()
