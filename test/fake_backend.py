"""A backend whose answers are known, for testing what the engine makes of them."""

import numpy as np

from defeat_ros.inference.backends.protocol import NetworkOutput


class FakeBackend:
    """Disparity 0.5 everywhere, two feature channels, and a constant motion; keeps the work it was given."""

    name, device, precision = "fake", "cpu", "float32"

    def __init__(self, axisangle=(0.0, 0.0, 0.0), translation=(0.0, 0.0, -0.1), disp=0.5):
        self.axisangle = np.array(axisangle, np.float32)
        self.translation = np.array(translation, np.float32)
        self.disp = disp
        self.calls = []

    def features_problem(self, size_hw):
        return None

    def run(self, image, earlier, want):
        self.calls.append((image.copy(), None if earlier is None else earlier.copy(), set(want)))
        size = image.shape[:2]
        features = np.stack([np.full(size, 3.0, np.float32), np.full(size, 4.0, np.float32)], axis=2)
        pose = "pose" in want and earlier is not None
        return NetworkOutput(
            disp=np.full(size, self.disp, np.float32) if "disp" in want else None,
            features=features if "features" in want else None,
            axisangle=self.axisangle if pose else None,
            translation=self.translation if pose else None,
        )
