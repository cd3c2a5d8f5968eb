"""Who may import whom, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "defeat_ros"

# Each layer may import its own and those above; names are modules or packages below defeat_ros.
LAYERS = [
    {"errors", "frame", "settings", "progress", "resources", "files", "startup", "untrusted"},
    {"geometry", "warp", "checkpoint", "visualize"}
    | {"data.messages", "data.compose", "data.encodings", "data.compressed", "data.image_headers"},
    {"preprocess", "networks", "losses", "data", "evaluation"},
    {"inference", "training"},
    {"cli", "ros", "demo", "bench"},
]
APART = [("networks", "losses"), ("losses", "networks"), ("inference", "training"), ("training", "inference")]
APART += [("cli", "ros"), ("ros", "cli"), ("demo", "ros"), ("ros", "demo"), ("bench", "ros")]
# Outside packages that only some modules may import.
FENCED = {
    "rclpy": ("ros",),
    "rosbags": ("data.bag",),
    "mcap": ("data.bag",),
    "lz4": ("data.bag",),
    "lightning": ("training",),
    "launch": (),
    "openvino": ("inference.backends",),
    "onnx": ("inference.backends",),
    "onnxruntime": ("inference.backends",),
    "tensorrt": ("inference.backends",),
    "matplotlib": ("visualize",),
    "ray": ("inference.fleet_ray",),
}
MESSAGES = ("sensor_msgs", "nav_msgs", "geometry_msgs", "std_msgs", "diagnostic_msgs", "std_srvs", "rosgraph_msgs")


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"), path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name, prefix):
    return name == prefix or name.startswith(prefix + ".")


def layer(name):
    """The layer of the longest entry that holds the module; None for the package itself."""
    found = [(len(entry), i) for i, entries in enumerate(LAYERS) for entry in entries if within(name, entry)]
    return max(found)[1] if found else None


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports(name, path):
    if name == "__init__":
        return
    own = layer(name)
    assert own is not None, f"{name} belongs to no layer: add it to LAYERS"
    for target in imports(path):
        if target.startswith("defeat_ros."):
            inner = target.removeprefix("defeat_ros.")
            other = layer(inner)
            assert other is None or other <= own, f"{name} (layer {own}) imports {inner} (layer {other})"
            for here, there in APART:
                assert not (within(name, here) and within(inner, there)), f"{name} imports {inner}"
        top = target.partition(".")[0]
        for fenced, allowed in {**FENCED, **dict.fromkeys(MESSAGES, ("ros",))}.items():
            if top == fenced:
                assert any(name.startswith(prefix) for prefix in allowed), f"{name} imports {target}"


def test_package_import_is_light():
    code = "import sys, defeat_ros; print([m for m in ('torch', 'cv2', 'rclpy', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names():
    import defeat_ros

    for name in defeat_ros.__all__:
        assert getattr(defeat_ros, name).__name__ == name
    with pytest.raises(AttributeError, match="Depthengine"):
        getattr(defeat_ros, "Depthengine")  # noqa: B009
