"""From frames to predictions: knows no ROS and no files but the checkpoint.

Data flow of one call, all from one forward pass of one frame, so that everything shares stamp and scale:

    frame -> view (rectified, three sizes) -> depth net -> road -> level (constant units)
          -> step from the frame before (corners, else pose net) -> scale -> confidence -> depth, odometry
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.errors import FrameError
from defeat_ros.frame import CameraIntrinsics, Frame, Prediction
from defeat_ros.inference.backends.protocol import Backend, NetworkOutput
from defeat_ros.inference.confidence import Cues
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.costs import Costs
from defeat_ros.inference.frame_buffer import KEEP_POSE, FrameBuffer, Support
from defeat_ros.inference.measured_motion import Pending
from defeat_ros.inference.surroundings import Surroundings
from defeat_ros.inference.view import View, ViewMaker
from defeat_ros.inference.weights import EngineInfo, input_size_hw, load_backend
from defeat_ros.preprocess import resize_map, unit_features
from defeat_ros.settings import build

MEMORIES = {kind.__name__: kind for kind in (CameraIntrinsics, Pending, Support, View)}
"""What is among the memories of an engine, see `memory.load_values`."""

NEWS_KEPT = 10

RESULTS = ("depth", "confidence", "scale", "features", "odometry")
"""What can be asked of the engine."""


@dataclass(frozen=True)
class Perceived:
    """What a frame shows by itself; see `DepthEngine.perceive`.

    Attributes:
        frame: it.
        want: what of `RESULTS` was asked for.
        view: the frame at the sizes that are worked on.
        output: of the networks.
    """

    frame: Frame
    want: frozenset[str]
    view: View
    output: NetworkOutput


class DepthEngine:
    """Turns the frames of one camera, in order, into predictions.

    Deterministic: the same frames, odometry and parameters on the same machine give the same bytes.

    Args:
        config: the parameters; `checkpoint` names the weights.
        backend: a runtime to use instead of the one that the parameters ask for.

    Attributes:
        measured: takes the poses of another odometry, for the scale.
        costs: seconds that each part takes.
        info: what runs; another one once a runtime gave up and another took over.

    Raises:
        CheckpointError, BackendError, FrameError: weights, device or sizes cannot be used.
        ConfigError: the hood mask cannot be read.
    """

    REMEMBERED = ("_buffer", "_intrinsics", "_surroundings")

    def __init__(self, config: DepthConfig, backend: Backend | None = None) -> None:
        self._news: deque[str] = deque(maxlen=NEWS_KEPT)
        if backend is None:
            self._backend, self.info = load_backend(config, self._backend_changed)
        else:
            size_hw = input_size_hw(config, {})
            self._backend, self.info = backend, EngineInfo.of(backend, size_hw)
        self._network_hw = self.info.input_size[::-1]
        self.features_problem = self._backend.features_problem(self._network_hw)
        """Why the feature net cannot run at this input size; None where it can."""
        self.costs = Costs()
        self._views = ViewMaker(self._network_hw, config.output_size, config.hood_mask)
        self._buffer = FrameBuffer(config.max_gap_s)
        self._intrinsics: CameraIntrinsics | None = None
        self._surroundings = Surroundings(config, self.info, self._pose_net, self.costs)
        self.measured = self._surroundings.measured

    @property
    def config(self) -> DepthConfig:
        """The parameters. What decides on scale and confidence may be set to others before a `reset`."""
        return self._surroundings.config

    @config.setter
    def config(self, config: DepthConfig) -> None:
        self._surroundings.config = config

    @property
    def base_from_camera(self) -> np.ndarray:
        """Pose (4, 4) of the optical frame on the base; says where down is, and carries measured motion. May be set."""
        return self._surroundings.base_from_camera

    @base_from_camera.setter
    def base_from_camera(self, pose: np.ndarray) -> None:
        self._surroundings.base_from_camera = pose

    @property
    def latest_cues(self) -> Cues | None:
        """What the last confidence looked at, for fitting its weights."""
        return self._surroundings.latest_cues

    @classmethod
    def from_ckpt(cls, file: str | Path, **config: Any) -> DepthEngine:
        """An engine for a weight file; keywords are fields of `DepthConfig`, nested ones as dictionaries.

        Raises:
            ConfigError: an unknown or unfit parameter; and what the constructor raises.
        """
        return cls(build(DepthConfig, {"checkpoint": str(file), **config}))

    def news(self) -> tuple[str, ...]:
        """What has happened to the runtime since this was last asked, each a sentence for the user."""
        return tuple(self._news.popleft() for _ in range(len(self._news)))

    def _backend_changed(self, backend: Backend, reason: str, line: str) -> None:
        self.info = replace(
            self.info,
            backend=backend.name,
            device=backend.device,
            precision=backend.precision,
            reason=reason,
            warnings=(*self.info.warnings[1 - NEWS_KEPT :], line),
        )
        self._news.append(line)

    def reset(self, reason: str = "reset") -> None:
        """Empty the buffer and forget the scale; the next frame starts a segment at the identity."""
        self._buffer.clear(reason)

    def __call__(self, frame: Frame, want: Collection[str] = ("depth", "features", "odometry")) -> Prediction:
        """Predict one frame: `perceive`, then `conclude`.

        Args:
            frame: the next frame of the camera.
            want: which of `RESULTS` to compute; the rest is None and costs nothing.

        Raises:
            FrameError: repeated stamp, unknown distortion, a hood mask of another size, or features at a size the
                network cannot take.
            BackendError: the runtime failed; see `backends.steady` for how it goes on.
            ValueError: `want` names something else.
        """
        return self.conclude(self.perceive(frame, want))

    def perceive(self, frame: Frame, want: Collection[str] = ("depth", "features", "odometry")) -> Perceived:
        """The first half of a prediction, all that a frame shows by itself: rectified, resized, through the networks.

        One thread may perceive the next frame while another one concludes this one; frames keep their order.

        Raises:
            FrameError, BackendError, ValueError: see `__call__`; nothing was remembered then.
        """
        if unknown := set(want) - set(RESULTS):
            raise ValueError(f"want is {sorted(unknown)}, expected some of {RESULTS}")
        if "features" in want and self.features_problem:
            raise FrameError(self.features_problem, reason="input_too_small")
        with self.costs.of("prepare"):
            view = self._views(frame)
        with self.costs.of("networks"):
            work = ({"disp"} if set(want) - {"features"} else set()) | (set(want) & {"features"})
            output = self._backend.run(view.network_image, None, work)
        return Perceived(frame, frozenset(want), view, output)

    def conclude(self, perceived: Perceived) -> Prediction:
        """The second half: what a frame says together with those before it.

        Raises:
            FrameError: repeated stamp, or depth that is not finite.
            BackendError: see `__call__`; the next frame is then the first of a sequence.
        """
        frame, want, view, output = perceived.frame, perceived.want, perceived.view, perceived.output
        # Intrinsics that do not change the image may come late: the networks do not see them.
        if frame.intrinsics is not None:
            if self._intrinsics is not None and not _alike(self._intrinsics, frame.intrinsics):
                self._surroundings.forget()  # another lens: what was learned of the road was seen through the old one
            self._intrinsics = frame.intrinsics
        bent = frame.intrinsics if frame.intrinsics is not None and frame.intrinsics.needs_rectification else None
        before, restart = self._buffer.admit(frame.stamp_ns, (frame.size_hw, bent))
        if restart not in (None, "gap"):
            self._surroundings.forget()
        if restart is not None and restart not in KEEP_POSE:
            self._surroundings.forget_pose()
        look, made = None, dict[str, Any]()
        if output.disp is not None:
            if not np.isfinite(output.disp).all():
                raise FrameError(f"depth is not finite: numbers overflowed in {self.info.precision}", "not_finite")
            look = self._surroundings.look(view, output.disp, before, frame.stamp_ns)
            made = self._surroundings.measure(view, look, before, frame.stamp_ns, set(want))
        useless = look is not None and look.health.useless
        self._buffer.remember(Support(view.for_later(), look.depth if look else None, useless, frame.stamp_ns))
        return Prediction(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            image=view.image,
            intrinsics=view.intrinsics,
            features=self._features(output, view) if "features" in want else None,
            restart=restart,
            **made,
        )

    def _pose_net(self, now: np.ndarray, before: np.ndarray) -> NetworkOutput:
        with self.costs.of("pose net"):
            return self._backend.run(now, before, {"pose"})

    def _features(self, output: NetworkOutput, view: View) -> np.ndarray:
        assert output.features is not None
        stride = self.config.features.stride
        height, width = view.image.shape[:2]
        return unit_features(resize_map(output.features, (-(-height // stride), -(-width // stride))))


def _alike(one: CameraIntrinsics, other: CameraIntrinsics) -> bool:
    """Whether two calibrations are the same but for jitter."""
    return bool(np.allclose(one.K, other.K, rtol=1e-3))
