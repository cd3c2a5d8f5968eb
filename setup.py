"""Package metadata, for colcon (ament_python) and for pip, with the ranges of what it depends on."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "defeat_ros"
ROOT = Path(__file__).resolve().parent

# OpenCV is an extra: in a ROS installation cv2 comes from Debian's python3-opencv, whose metadata pip cannot see.
OPENCV = ["opencv-python-headless>=4.7"]
# ROS 2 from the package index (Linux x86-64), for machines without a ROS installation.
ROS = [
    "ros-rclpy[fastrtps]>=9.1",
    "ros-builtin-interfaces",
    "ros-diagnostic-msgs",
    "ros-geometry-msgs",
    "ros-lifecycle-msgs",
    "ros-nav-msgs",
    "ros-rcl-interfaces",
    "ros-rosgraph-msgs",
    "ros-sensor-msgs",
    "ros-std-msgs",
    "ros-std-srvs",
]
# Runtimes that are faster than PyTorch: OpenVINO on CPUs; ONNX Runtime, whose GPU build brings TensorRT.
OPENVINO = ["openvino>=2025.2"]
ONNX = ["onnxruntime>=1.18", "onnx>=1.16"]
# Training and the pictures of evaluations; what runs on a robot does without.
TRAIN = ["lightning>=2.4,<3", "tensorboard>=2.14", "matplotlib>=3.5"]
# Many bags on a cluster.
RAY = ["ray>=2.9,<3"]
TEST = ["pytest>=7", "pytest-timeout", "hypothesis", "ruff", "mypy", "types-PyYAML"]


def files_of(folder: str, pattern: str = "*") -> list[str]:
    """Visible files of a folder of this repository, relative to it as setuptools and colcon ask."""
    found = (ROOT / folder).glob(pattern)
    return sorted(f"{folder}/{file.name}" for file in found if file.is_file() and not file.name.startswith("."))


setup(
    name=NAME,
    version="0.1.0",
    description="Depth, odometry and dense features from one camera, by day and by night (DeFeat-Net for ROS 2)",
    license="Apache-2.0",
    author="defeat_ros maintainers",
    author_email="maintainers@defeat-ros.example",
    maintainer="defeat_ros maintainers",
    maintainer_email="maintainers@defeat-ros.example",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["ros/*.xml", "inference/*.json", "inference/backends/frames/*.jpg"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files_of("launch", "*.launch.py")),
        (f"share/{NAME}/config", files_of("config")),
        (f"share/{NAME}/ckpt", files_of("ckpt")),
    ],
    zip_safe=False,
    install_requires=[
        "setuptools",
        "numpy>=1.24",
        "torch>=2.6",
        "torchvision>=0.21",
        "safetensors>=0.4",
        "rosbags>=0.11.9,<0.12",
        "mcap>=1.1",
        "lz4",
        "numba>=0.57",
        "pillow>=10.1",
        "rich>=11",
        "PyYAML>=5.4",
        "av>=11",
    ],
    extras_require={
        "opencv": OPENCV,
        "openvino": OPENVINO,
        "onnx": ONNX,
        "ros": ROS,
        "train": TRAIN,
        "ray": RAY,
        "test": TEST,
    },
    entry_points={
        "console_scripts": [
            "depth_node = defeat_ros.ros.node:main",
            "defeat-ros = defeat_ros.cli.main:main",
        ],
    },
)
