"""The node's plumbing over real DDS, with a fake engine: what is computed, published, counted and reset."""

import threading

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

import numpy as np
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from ros_tools import IMAGE, Bench, Camera, FakeEngine, camera, ros
from std_srvs.srv import Trigger

from defeat_ros.data.messages import stamp_from_message
from defeat_ros.errors import BackendError, CheckpointError, ConfigError, FrameError
from defeat_ros.ros.messages import FACTORY, message_class
from defeat_ros.ros.node import DepthNode

MS = 1_000_000


def test_outputs_have_the_stamp_frame_and_size_of_the_image():
    with ros() as r:
        bench = Bench(r)
        depths, infos = bench.listen("depth/image_rect", "depth/camera_info")
        bench.camera.send(5 * 10**9 + 7)
        r.until(lambda: depths and infos, "depth and camera_info")
        for message in (depths[0], infos[0]):
            assert stamp_from_message(message) == 5 * 10**9 + 7
            assert (message.header.frame_id, message.width, message.height) == ("cam", 64, 48)
        assert depths[0].encoding == "32FC1"
        assert np.all(np.frombuffer(depths[0].data, np.float32) == 2.0)


@pytest.mark.parametrize(
    ("topics", "want"),
    [
        (["depth/image_rect"], {"depth"}),
        (["features/image"], {"features"}),
        (["depth/color", "features/color"], {"depth", "features"}),
    ],
)
def test_only_what_is_subscribed_to_is_computed(topics, want):
    with ros() as r:
        bench = Bench(r)
        lists = bench.listen(*topics)
        bench.camera.send(MS)
        r.until(lambda: all(lists), "outputs")
        assert [wanted for _, wanted in bench.engine.calls] == [want]


def test_nothing_is_computed_for_nobody():
    with ros() as r:
        bench = Bench(r)
        bench.camera.connect()
        bench.camera.send(MS)
        r.until(lambda: bench.node.counts.dropped == {"nobody_subscribed": 1}, "the drop")
        assert bench.engine.calls == []


def test_a_flood_is_superseded_and_adds_up():
    with ros() as r:
        bench = Bench(r)
        bench.engine.gate = threading.Event()
        (depths,) = bench.listen("depth/image_rect")
        bench.camera.send(MS)
        r.until(lambda: bench.engine.calls, "the first image in the engine")
        for number in range(2, 52):
            bench.camera.send(number * MS)
            r.until(lambda n=number: bench.node.counts.received == n, "the image")
        bench.engine.gate.set()
        r.until(lambda: len(depths) == 2 and bench.settled(), "two results")
        assert [stamp_from_message(message) for message in depths] == [MS, 51 * MS]
        counts = bench.node.counts
        assert (counts.received, counts.published, counts.dropped) == (51, 2, {"superseded": 49})


def test_bad_images_are_rejected_and_the_node_goes_on():
    with ros() as r:
        bench = Bench(r)
        (depths,) = bench.listen("depth/image_rect")
        for stamp, changes in ((1, {"encoding": "abc"}), (2, {"step": 3}), (3, {"height": 4000}), (4, {"width": 0})):
            bench.camera.send(stamp * MS, **changes)
            r.until(lambda n=stamp: bench.node.counts.received == n and bench.settled(), "the rejection")
        bench.camera.send(5 * MS)
        r.until(lambda: len(depths) == 1 and bench.settled(), "a result")
        counts = bench.node.counts
        assert counts.published == 1 and sum(counts.dropped.values()) == 4
        assert all(reason.startswith("rejected_") for reason in counts.dropped)


def test_a_failing_engine_is_counted_and_recovers():
    with ros() as r:
        bench = Bench(r)
        (depths,) = bench.listen("depth/image_rect")
        reports = r.listen("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
        bench.engine.fail = RuntimeError("out of luck")
        bench.camera.send(MS)
        r.until(lambda: bench.node.counts.dropped == {"failed": 1}, "the failure")
        r.until(lambda: any("out of luck" in s.message for a in reports for s in a.status), "the diagnosis")
        bench.engine.fail = None
        bench.camera.send(2 * MS)
        r.until(lambda: depths, "a result")


def test_frames_that_the_engine_refuses_are_counted_by_their_reason():
    with ros() as r:
        bench = Bench(r)
        bench.listen("depth/image_rect")
        for number, reason in enumerate(("duplicate_stamp", "bad_frame"), 1):
            bench.engine.fail = FrameError("no", reason=reason)
            bench.camera.send(MS)
            r.until(lambda n=number: bench.node.counts.received == n and bench.settled(), "the drop")
        assert bench.node.counts.dropped == {"rejected_duplicate_stamp": 1, "rejected_bad_frame": 1}


def test_images_without_a_stamp_get_the_time_of_their_arrival():
    with ros() as r:
        bench = Bench(r)
        (depths,) = bench.listen("depth/image_rect")
        warnings, now = [], bench.node.get_clock().now
        bench.node.get_logger().warning = lambda text, **_: warnings.append(text)
        begin = now().nanoseconds
        for number in range(1, 4):
            bench.camera.send(0)
            r.until(lambda n=number: len(depths) == n and bench.settled(), "a result")
        stamps = [stamp_from_message(message) for message in depths]
        assert begin < stamps[0] < stamps[1] < stamps[2] < now().nanoseconds
        assert [stamp for stamp, _ in bench.engine.calls] == stamps and None not in bench.engine.cameras
        assert len(warnings) == 1 and "does not stamp its images on '/image'" in warnings[0]


def test_features_that_cannot_be_computed_do_not_cost_the_depth():
    with ros() as r:
        bench = Bench(r)
        bench.engine.features_problem = "the input is too small"
        depths, features = bench.listen("depth/image_rect", "features/image")
        bench.camera.send(MS)
        r.until(lambda: depths, "depth")
        assert bench.engine.calls == [(MS, frozenset({"depth"}))] and not features


def test_a_camera_info_of_another_size_costs_the_intrinsics_not_the_frame():
    with ros() as r:
        bench = Bench(r, info="camera_info")
        depths, infos = bench.listen("depth/image_rect", "depth/camera_info")

        bench.camera.camera = camera(32, 32)
        bench.camera.send(MS)
        r.until(lambda: depths, "depth")
        assert bench.engine.cameras == [None] and not infos


def test_the_first_image_waits_for_its_camera_info():
    with ros() as r:
        bench = Bench(r)
        bench.listen("depth/image_rect")
        info = FACTORY.camera_info(bench.camera.camera, stamp_ns=MS, frame_id="cam")
        bench.camera.images.publish(FACTORY.image(bench.camera.image, stamp_ns=MS, frame_id="cam"))
        r.until(lambda: bench.node.counts.received == 1, "the image")
        bench.camera.infos.publish(info)
        r.until(lambda: bench.engine.cameras, "the engine")
        assert bench.engine.cameras[0] is not None


def test_images_without_camera_info_give_depth():
    with ros() as r:
        bench = Bench(r, info="")
        (depths,) = bench.listen("depth/image_rect")
        bench.camera.send(MS)
        r.until(lambda: depths, "depth")
        assert bench.engine.cameras == [None]


def test_compressed_images_follow_the_remapping_of_image():
    with ros("--ros-args", "-r", "image:=/front/image_raw") as r:
        node = r.add(
            DepthNode(
                FakeEngine, context=r.context, parameter_overrides=[Parameter("image_transport", value="compressed")]
            )
        )
        assert node.bring_up()
        depths = r.listen("depth/image_rect", IMAGE)
        sender = r.node.create_publisher(
            message_class("sensor_msgs/msg/CompressedImage"), "/front/image_raw/compressed", 1
        )
        r.until(lambda: sender.get_subscription_count() and node._outputs.topics(), "matches")
        image = np.zeros((48, 64, 3), np.uint8)
        sender.publish(FACTORY.compressed_image(image, stamp_ns=MS, frame_id="cam"))
        r.until(lambda: depths, "depth")
        assert (depths[0].width, depths[0].height) == (64, 48)


@pytest.mark.parametrize("early", [True, False])
def test_images_are_taken_as_they_are_offered(early):
    """From best-effort publishers best effort, from reliable ones reliable, whoever is there first."""
    with ros() as r:
        if early:
            driver = Camera(r, reliable=False)
        bench = Bench(r, info="")
        if not early:
            bench.camera.connect()
            assert bench.node._camera._reliability == ReliabilityPolicy.RELIABLE
            driver = Camera(r, reliable=False)
        (depths,) = bench.listen("depth/image_rect")
        driver.connect()
        driver.send(MS)
        r.until(lambda: depths, "depth from a best-effort image")
        r.node.destroy_publisher(driver.images)
        r.until(lambda: bench.node._camera._reliability == ReliabilityPolicy.RELIABLE, "reliable again")
        bench.camera.connect()
        bench.camera.send(2 * MS)
        r.until(lambda: len(depths) == 2, "depth from a reliable image")


def test_the_users_choice_of_reliability_stays():
    with ros() as r:
        bench = Bench(r, **{"qos_overrides./image.subscription.reliability": "best_effort"})
        bench.camera.connect()
        reports = r.listen("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
        r.until(lambda: len(reports) >= 2, "two looks at the publishers")
        info = r.node.get_subscriptions_info_by_topic("/image")[0]
        assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


def test_reset_service_reaches_the_engine_before_the_next_frame():
    with ros() as r:
        bench = Bench(r)
        (depths,) = bench.listen("depth/image_rect")
        assert r.call(Trigger, "depth_node/reset", Trigger.Request()).success
        bench.camera.send(MS)
        r.until(lambda: depths, "depth")
        assert bench.engine.resets == ["reset"]


def test_lifecycle_cycles_make_fresh_engines_and_results():
    with ros() as r:
        bench = Bench(r)
        (depths,) = bench.listen("depth/image_rect")
        for cycle in range(1, 6):
            bench.camera.connect()
            r.until(bench.node._outputs.topics, "the listener")
            bench.camera.send(cycle * MS)
            r.until(lambda n=cycle: len(depths) == n and bench.settled(), "a result")
            assert bench.change(Transition.TRANSITION_DEACTIVATE) and bench.node.state == "inactive"
            r.until(lambda: bench.camera.images.get_subscription_count() == 0, "the unsubscription")
            assert bench.change(Transition.TRANSITION_CLEANUP) and bench.node.state == "unconfigured"
            assert not r.call(Trigger, "depth_node/reset", Trigger.Request()).success
            assert bench.change(Transition.TRANSITION_CONFIGURE) and bench.change(Transition.TRANSITION_ACTIVATE)
        assert len(bench.engines) == 6 and bench.node.counts.published == 5


def test_deactivation_accounts_for_the_frame_that_waits():
    with ros() as r:
        bench = Bench(r)
        bench.engine.gate = threading.Event()
        bench.listen("depth/image_rect")
        bench.camera.send(MS)
        r.until(lambda: bench.engine.calls, "the engine")
        bench.camera.send(2 * MS)
        r.until(lambda: bench.node.counts.received == 2, "the second image")
        threading.Timer(0.1, bench.engine.gate.set).start()
        assert bench.change(Transition.TRANSITION_DEACTIVATE)
        counts = bench.node.counts
        assert (counts.published, counts.dropped, counts.pending) == (1, {"deactivated": 1}, 0)


def test_time_that_jumps_back_resets_the_engine():
    with ros() as r:
        bench = Bench(r, use_sim_time=True)
        clock = r.node.create_publisher(message_class("rosgraph_msgs/msg/Clock"), "/clock", 10)
        r.until(lambda: clock.get_subscription_count() > 0, "the clock's subscriber")
        now = bench.node.get_clock().now
        for stamp in (100 * 10**9, 101 * 10**9):
            clock.publish(FACTORY.clock(stamp))
            r.until(lambda t=stamp: now().nanoseconds == t, "time")
        assert bench.engine.resets == []
        clock.publish(FACTORY.clock(50 * 10**9))
        r.until(lambda: bench.engine.resets == ["time_jump"], "the reset")


def test_what_is_in_work_when_time_jumps_back_is_not_published():
    with ros() as r:
        bench = Bench(r, use_sim_time=True)
        (depths,) = bench.listen("depth/image_rect")
        clock = r.node.create_publisher(message_class("rosgraph_msgs/msg/Clock"), "/clock", 10)
        r.until(lambda: clock.get_subscription_count() > 0, "the clock's subscriber")
        now = bench.node.get_clock().now

        def set_time(stamp):
            clock.publish(FACTORY.clock(stamp))
            r.until(lambda: now().nanoseconds == stamp, "time")

        set_time(100 * 10**9)
        bench.engine.gate = threading.Event()
        bench.camera.send(100 * 10**9)
        r.until(lambda: bench.engine.calls, "the engine")
        set_time(50 * 10**9)
        bench.engine.gate.set()
        bench.camera.send(50 * 10**9)
        r.until(lambda: depths, "the first image after the jump")
        assert [stamp_from_message(message) for message in depths] == [50 * 10**9]
        counts = bench.node.counts
        assert (counts.published, counts.dropped) == (1, {"time_jump": 1}) and bench.engine.resets == ["time_jump"]


def test_a_failed_configure_leaves_the_node_unconfigured_and_says_why():
    def broken(config):
        raise CheckpointError("no such checkpoint 'x'")

    with ros() as r:
        bench = Bench(r, broken)
        assert not bench.up and bench.node.state == "unconfigured"
        reports = r.listen("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
        r.until(lambda: any("no such checkpoint" in s.message for a in reports for s in a.status), "the diagnosis")
        assert not bench.change(Transition.TRANSITION_CONFIGURE)


BAD_OVERRIDES = [
    ("reliability", "foo", "expected one of system_default, reliable, best_effort"),
    ("depth", "many", "expected a whole number from 0"),
    ("depth", -1, "expected a whole number from 0"),
    ("history", "keep_some", "expected one of system_default, keep_last, keep_all"),
]


@pytest.mark.parametrize(("policy", "value", "expected"), BAD_OVERRIDES)
def test_a_bad_override_of_a_publisher_is_named_and_leaves_nothing_behind(policy, value, expected):
    name = f"qos_overrides./odom.publisher.{policy}"
    with ros() as r:
        bench = Bench(r, autostart=False, **{name: value})

        def alive():
            return len(list(bench.node.publishers)), len(bench.node._managed_entities)

        before = alive()
        for _ in range(2):
            assert not bench.change(Transition.TRANSITION_CONFIGURE)
            assert bench.node.configure_problem.startswith(f"parameter '{name}' is {value!r}, {expected}")
            assert alive() == before and bench.node.state == "unconfigured"


@pytest.mark.parametrize("topic", ["/image", "/camera_info"])
def test_a_bad_override_of_a_subscription_is_named_and_leaves_nothing_behind(topic):
    name = f"qos_overrides.{topic}.subscription.reliability"
    with ros() as r:
        bench = Bench(r, autostart=False, **{name: "foo"})
        assert bench.change(Transition.TRANSITION_CONFIGURE)
        before = len(list(bench.node.subscriptions))
        for _ in range(2):
            assert not bench.change(Transition.TRANSITION_ACTIVATE)
            assert len(list(bench.node.subscriptions)) == before and bench.node.state == "inactive"
        with pytest.raises(ConfigError, match=f"parameter '{name}' is 'foo', expected one of system_default, rel"):
            bench.node._activate(None)


def test_an_unknown_parameter_fails_the_configure():
    with ros() as r:
        bench = Bench(r, chekpoint="x")
        assert not bench.up and bench.engines == [] and bench.node.state == "unconfigured"


def test_without_autostart_the_node_waits():
    with ros() as r:
        bench = Bench(r, autostart=False)
        assert bench.up and bench.node.state == "unconfigured"
        assert bench.change(Transition.TRANSITION_CONFIGURE) and bench.node.state == "inactive"


def test_diagnostics_are_complete_and_stamped_by_the_node_clock():
    with ros() as r:
        bench = Bench(r)
        reports = r.listen("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
        bench.listen("depth/image_rect")
        bench.camera.send(MS)
        r.until(lambda: reports and reports[-1].status[0].values[1].value == "1", "a report of the frame")
        frames, engine, *_ = reports[-1].status
        assert (frames.name, engine.name) == ("depth_node: frames", "depth_node: engine")
        values = {item.key: item.value for item in (*frames.values, *engine.values)}
        assert values["received"] == values["published"] == "1" and float(values["latency p50 (ms)"]) > 0
        assert values["checkpoint"] == "fake.safetensors"
        assert engine.level == b"\x01"  # untrained
        assert reports[-1].header.stamp.sec > 0


def test_what_happens_to_the_runtime_is_logged_and_its_failures_have_their_own_word(capfd):
    with ros() as r:
        bench = Bench(r)
        (depths,) = bench.listen("depth/image_rect")
        bench.engine.fail, bench.engine.told = BackendError("the device fell off"), ("float32 PyTorch took over",)
        bench.camera.send(MS)
        r.until(lambda: bench.node.counts.dropped == {"failed_backend": 1}, "the failure")
        bench.engine.fail = None
        bench.camera.send(2 * MS)
        r.until(lambda: depths, "depth")
        log = capfd.readouterr().err
        assert log.count("float32 PyTorch took over") == 1 and "the device fell off" in log and "Traceback" not in log
