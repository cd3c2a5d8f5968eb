"""The node as its own process with the real engine: results, messages to the user, and a clean end."""

import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

import numpy as np
from lifecycle_msgs.srv import GetState
from rclpy.parameter import Parameter
from ros_tools import Camera, FakeEngine, Process, environment, new_domain, ros

from defeat_ros.data.messages import stamp_from_message
from defeat_ros.ros.node import DepthNode

# A driver as most are, with Fast DDS as it comes; 1.4 MB at a time.
FLOOD = """
import time, rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("driver")
images = node.create_publisher(Image, "image", 5)
message = Image(height=375, width=1242, step=3726, encoding="rgb8", data=bytes(375 * 3726))
while not images.get_subscription_count():
    time.sleep(0.05)
while True:
    images.publish(message)
    time.sleep(0.03)
"""
NODE = "defeat_ros.ros.node"
IMAGE, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"


@pytest.fixture
def start():
    """Starts processes and leaves none behind."""
    running = []

    def start(*args, domain, module=NODE):
        running.append(Process(module, *args, domain=domain))
        return running[-1]

    yield start
    for process in running:
        process.kill()


def ros_args(weights, *more):
    size = ("-p", "input_size:=[192, 128]")
    return "--ros-args", "-p", f"checkpoint:={weights}", *size, *more


def ends_cleanly(process, number):
    """A signal, and a second one as a terminal or launch sends it to the whole group, end the node with status 0."""
    process.signal(number)
    process.signal(number)
    assert process.end() == 0, process.output
    assert "Traceback" not in process.output


def test_real_engine_end_to_end(start, weights):
    """Every output of one stream; images over half a megabyte reach best-effort subscribers of a plain process."""
    domain = new_domain()
    process = start(*ros_args(weights), "-p", "confidence_min:=0.0", domain=domain)
    with ros(domain=domain) as r:
        depths = r.listen("depth/image_rect", IMAGE, reliable=False)
        infos = r.listen("depth/camera_info", INFO)
        odoms = r.listen("odom", "nav_msgs/msg/Odometry")
        colors = r.listen("features/color", IMAGE)
        process.wait_for("active:")
        camera = Camera(r, 480, 352)
        camera.connect()
        lists, stamp = (depths, infos, odoms, colors), 0
        while not all(lists):  # the node learns of its subscribers one by one
            stamp += 10**8
            before = len(odoms)
            camera.send(stamp)
            r.until(lambda n=before: len(odoms) > n or not odoms, "odometry")
            until = time.monotonic() + 0.1
            r.until(lambda end=until: time.monotonic() > end, "the next image")
        stamps = [stamp + number * 10**8 for number in range(1, 6)]
        for number, stamp in enumerate(stamps):
            camera.send(stamp)
            r.until(lambda at=stamp: all(stamp_from_message(one[-1]) == at for one in lists), f"frame {number}")
        for received in (depths, infos, odoms, colors):
            assert [stamp_from_message(message) for message in received][-5:] == stamps
        depth = np.frombuffer(depths[-1].data, np.float32).reshape(352, 480)
        assert np.all(depth > 0) and odoms[-1].header.frame_id == "odom" and odoms[-1].child_frame_id == "base_link"
        assert "UNTRAINED" not in process.output and weights.name in process.output
    ends_cleanly(process, signal.SIGINT)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-p", "checkpoint:=/nowhere/x.safetensors"), "/nowhere/x.safetensors"),
        (("-p", "chekpoint:=x"), "unknown parameter 'chekpoint'; did you mean 'checkpoint'?"),
    ],
)
def test_a_node_that_cannot_configure_lives_on_and_says_why(start, arguments, reason):
    domain = new_domain()
    process = start("--ros-args", *arguments, domain=domain)
    line = process.wait_for("cannot configure")
    assert reason in line and "[ERROR]" in line
    with ros(domain=domain) as r:
        assert r.call(GetState, "/depth_node/get_state", GetState.Request()).current_state.label == "unconfigured"
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert "Traceback" not in process.output


def test_silence_is_explained(start, weights):
    domain = new_domain()
    process = start(*ros_args(weights), domain=domain)
    with ros(domain=domain) as r:
        camera = Camera(r, image="/front/image_raw")
        assert camera.images
        line = process.wait_for("no images on '/image'")
        assert "nobody publishes it" in line and "/front/image_raw" in line
    ends_cleanly(process, signal.SIGTERM)


def test_unusable_ros_arguments_are_one_line(start):
    process = start("--ros-args", "--params-file", "/nowhere.yaml", domain=new_domain())
    assert process.end() == 1
    assert "/nowhere.yaml" in process.output and "Traceback" not in process.output


def test_images_that_the_middleware_loses_are_in_the_ledger():
    with ros() as r:
        best_effort = Parameter("qos_overrides./image.subscription.reliability", value="best_effort")
        node = r.add(DepthNode(FakeEngine, context=r.context, parameter_overrides=[best_effort]))
        assert node.bring_up()
        driver = subprocess.Popen([sys.executable, "-c", FLOOD], env=environment(r.domain))
        try:
            r.until(lambda: node.counts.dropped.get("lost_in_middleware", 0) > 10, "losses")
        finally:
            driver.kill()
            driver.wait()
        counts = node.counts
        assert counts.received == counts.published + sum(counts.dropped.values()) + counts.pending
