"""The values that travel: what a camera saw (`Frame`) and what was made of it (`Prediction`).

Data and cheap invariants only, numpy only; every other module builds on these classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from defeat_ros.errors import FrameError

DEFAULT_FRAME_ID = "camera_optical_frame"
"""Of images whose source names no frame."""

EPOCH_NS = 1_700_000_000 * 10**9
"""Where the stamps of a source without absolute time begin."""


@dataclass(frozen=True)
class CameraIntrinsics:
    """A pinhole camera, with the distortion and rectification of sensor_msgs/CameraInfo.

    Attributes:
        fx, fy, cx, cy: focal lengths and principal point of the raw image, px (K of CameraInfo).
        width, height: size of the image they belong to, px.
        distortion_model: '' (none), 'plumb_bob', 'rational_polynomial' or 'equidistant'.
        distortion: its coefficients (D of CameraInfo), empty for none.
        rectification: row-major 3x3 rotation into the rectified camera (R of CameraInfo), None for identity.
        projection: (fx, fy, cx, cy) of the rectified image (from P of CameraInfo), None for that of the raw one.

    Raises:
        FrameError: a focal length or size is not positive, or a value is not finite.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion_model: str = ""
    distortion: tuple[float, ...] = ()
    rectification: tuple[float, ...] | None = None
    projection: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion, *(self.rectification or ()))
        if not all(np.isfinite(v) for v in (*values, *(self.projection or ()))):
            raise FrameError(f"intrinsics must be finite numbers, got {self}")
        if self.fx <= 0 or self.fy <= 0:
            raise FrameError(f"focal lengths must be positive, got fx={self.fx}, fy={self.fy}")
        if self.width <= 0 or self.height <= 0:
            raise FrameError(f"camera size must be positive, got {self.width}x{self.height}")
        if self.rectification is not None and len(self.rectification) != 9:
            raise FrameError(f"rectification must have 9 values, got {len(self.rectification)}")
        if self.projection is not None and min(self.projection[:2]) <= 0:
            raise FrameError(f"focal lengths of the projection must be positive, got {self.projection[:2]}")

    @property
    def K(self) -> np.ndarray:
        """The camera matrix of the raw image, (3, 3) float64."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def needs_rectification(self) -> bool:
        """Whether the raw image differs from the rectified one."""
        if any(self.distortion):
            return True
        if self.rectification is not None and not np.allclose(np.reshape(self.rectification, (3, 3)), np.eye(3)):
            return True
        return self.projection is not None and not np.allclose(self.projection, (self.fx, self.fy, self.cx, self.cy))

    def rectified(self) -> CameraIntrinsics:
        """The camera of the rectified image: same size, no distortion."""
        fx, fy, cx, cy = self.projection or (self.fx, self.fy, self.cx, self.cy)
        return CameraIntrinsics(fx=fx, fy=fy, cx=cx, cy=cy, width=self.width, height=self.height)


@dataclass(frozen=True)
class Frame:
    """One image of the camera.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        stamp_ns: time of exposure, ns.
        frame_id: the camera's optical frame (x right, y down, z forward).
        intrinsics: its camera, None where it is not known.

    Raises:
        FrameError: the image is not (H, W, 3) uint8, is empty, or differs in size from its intrinsics.
    """

    image: np.ndarray
    stamp_ns: int
    frame_id: str = DEFAULT_FRAME_ID
    intrinsics: CameraIntrinsics | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.image.shape, self.image.dtype
        if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8:
            raise FrameError(f"image must be (H, W, 3) uint8 RGB, got {shape} {dtype}")
        if 0 in shape:
            raise FrameError(f"image must not be empty, got {shape[1]}x{shape[0]}")
        camera = self.intrinsics
        if camera is not None and (camera.height, camera.width) != shape[:2]:
            raise FrameError(
                f"intrinsics are for {camera.width}x{camera.height}, expected the image's {shape[1]}x{shape[0]}"
            )

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class Scale:
    """How many metres a scene unit is, and how certain that is.

    Attributes:
        metres_per_unit: None while it is unknown.
        std: standard deviation of its logarithm, about that of the ratio; 0 for a fixed one, inf for none.
        source: 'none', 'fixed', or those of 'learned', 'camera_height', 'odometry' that it was fused from, the most
            certain first, joined by '+'.
        age_s: time since the last measurement, s; 0 for one that is not measured.
        warning: what its sources say where they contradict each other, else ''.
    """

    metres_per_unit: float | None = None
    std: float = math.inf
    source: str = "none"
    age_s: float = 0.0
    warning: str = ""


@dataclass(frozen=True)
class ImageHealth:
    """Measurements of one image at the networks' size.

    Attributes:
        brightness: mean grey level, 0 to 255.
        black, white: shares of pixels without information, 0 to 1.
        contrast: standard deviation of the grey levels.
        sharpness: energy of the finest octave of detail over that of the next; low where focus or motion blurs.
        change: mean absolute difference to the frame before, grey levels; NaN for a first frame.
        problems: what is wrong, of 'black', 'white', 'flat', 'dark', 'glare', 'blurred', 'static'.
    """

    brightness: float
    black: float
    white: float
    contrast: float
    sharpness: float
    change: float
    problems: tuple[str, ...]

    @property
    def useless(self) -> bool:
        """Whether nothing can be told from the image."""
        return bool({"black", "white", "flat"} & set(self.problems))


@dataclass(frozen=True)
class Odometry:
    """Motion of the camera since the start, the last reset or jump back in time.

    A pause or a change of image size begins a new segment too, but keeps the pose (REP 105 wants it continuous) and
    says with its covariance that nothing is certain any more.

    Attributes:
        odom_from_camera: (4, 4) float64, pose of the optical frame in the frame it had at the start or reset;
            translation in the depth's unit.
        previous_from_camera: (4, 4) float64, the last step alone.
        dt_s: time of that step, s; 0 at the segment's first frame.
        step_covariance: (6, 6) float64, of the step's translation and rotation, in the camera's own axes now.
        pose_covariance: (6, 6) float64, the same of the pose, accumulated since the start or reset.
        segment: counts the restarts; no motion is known between segments.
        source: what told the step: 'refined' (tracked corners and learned depth), 'still' (the camera stands),
            'network' (the pose net alone), 'lost' (nothing: the pose is held and its covariance says unknown), or
            'start' at a segment's first frame.
        matches: number of corners that were tracked, 0 where none were looked for.
        inliers: share of them that agree with the step, 0 to 1.
    """

    odom_from_camera: np.ndarray
    previous_from_camera: np.ndarray
    dt_s: float
    step_covariance: np.ndarray
    pose_covariance: np.ndarray
    segment: int
    source: str = "start"
    matches: int = 0
    inliers: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """What the engine made of one frame; a field is None when it was not asked for.

    Attributes:
        stamp_ns, frame_id: those of the frame.
        image: (H, W, 3) uint8 RGB, rectified, at the output size.
        intrinsics: the camera of `image` and `depth`, free of distortion; None where the frame had none.
        depth: (H, W) float32 along the optical z axis, in metres where the scale is known, else in scene units;
            +Inf beyond the range, -Inf closer than it, NaN where it is not reliable: below `confidence_min`, in the
            hood mask, where rectification left nothing to see, or all over a useless image.
        confidence: (H, W) float32, probability that the depth lies within 25 % of the truth; of the depth before
            unreliable pixels were made NaN.
        features: (h, w, C) float32 of unit length over C.
        odometry: motion up to this frame, in the same unit as the depth.
        scale: the scale that was applied.
        health: of the image; None where neither depth nor odometry was asked for.
        withheld: why the depth is None although it was asked for: 'scale_unknown'.
        restart: why a new odometry segment began at this frame ('start', 'gap', 'backwards', 'size', 'time_jump',
            'reset'),
            None when it continues the one before.
    """

    stamp_ns: int
    frame_id: str
    image: np.ndarray
    intrinsics: CameraIntrinsics | None = None
    depth: np.ndarray | None = None
    confidence: np.ndarray | None = None
    features: np.ndarray | None = None
    odometry: Odometry | None = None
    scale: Scale = Scale()
    health: ImageHealth | None = None
    withheld: str | None = None
    restart: str | None = None

    @property
    def metres_per_unit(self) -> float | None:
        """The scale that was applied, None while it is unknown."""
        return self.scale.metres_per_unit
