"""The demonstration in one small bag to look at: what went in and came out on one time line, and where it all is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from defeat_ros.data.bag import BagReader, BagWriter, bag_messages
from defeat_ros.data.messages import image_from_message, stamp_from_message
from defeat_ros.data.truth import pose_from_odometry
from defeat_ros.demo.drive_result import DriveResult, confidence_levels

PICTURES = ("/camera/image_raw", "/depth/color", "/depth/confidence", "/features/color")
AS_THEY_ARE = ("/camera/camera_info", "/depth/points", "/odom", "/diagnostics", "/truth/odom")


def write_view(result: DriveResult, out: Path) -> None:
    """Write the bag; `config/foxglove_layout.json` shows it.

    Pictures are JPEG, under the names that the live topics have. Log time is that of the headers, so that what came
    out lies beside what it was made of. `/tf` has what the node broadcasts where tf2 is installed.

    Raises:
        OutputError: the bag is there already or cannot be written.
    """
    with BagWriter(out) as bag:
        for path in (result.in_bag, result.out_bag):
            with BagReader(path) as source:
                for topic, message, stamp_ns in _messages(source):
                    if stamp_ns >= result.stamps[0]:  # diagnostics before the first /clock are stamped 0
                        bag.write(topic, message, stamp_ns)


def _messages(source: BagReader) -> Iterator[tuple[str, Any, int]]:
    make, stamp_ns = bag_messages(), source.start_ns
    for message in source.messages({*PICTURES, *AS_THEY_ARE, "/depth/scale", "/tf_static"}):
        decoded = message.message
        if hasattr(decoded, "header"):  # the scale has none: it goes with the depth before it
            stamp_ns = stamp_from_message(decoded)
        if message.topic in PICTURES:
            read = confidence_levels if message.topic == "/depth/confidence" else image_from_message
            frame_id = str(decoded.header.frame_id)
            yield message.topic, make.compressed_image(read(decoded), stamp_ns=stamp_ns, frame_id=frame_id), stamp_ns
            continue
        yield message.topic, decoded, stamp_ns
        if message.topic == "/odom":
            step = (str(decoded.header.frame_id), str(decoded.child_frame_id), pose_from_odometry(decoded)[1])
            yield "/tf", make.transforms([step], stamp_ns=stamp_ns), stamp_ns
