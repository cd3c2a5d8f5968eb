"""What is installed: metadata, data files, scripts."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import setuptools
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    """What setup.py hands to setuptools when it runs in another folder, as colcon's linked builds do."""
    handed: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", handed.update)
        script = ROOT / "setup.py"
        exec(compile(script.read_text(), script, "exec"), {"__file__": str(script), "__name__": "__main__"})
    return handed


@pytest.fixture(scope="module")
def manifest() -> ElementTree.Element:
    """package.xml."""
    return ElementTree.parse(ROOT / "package.xml").getroot()


def test_manifest_is_format_3_of_an_ament_python_package(manifest: ElementTree.Element) -> None:
    assert (manifest.tag, manifest.get("format")) == ("package", "3")
    assert manifest.findtext("export/build_type") == "ament_python"
    assert manifest.findtext("license") == "Apache-2.0"


def test_manifest_names_each_dependency_once(manifest: ElementTree.Element) -> None:
    names = [element.text for element in manifest if element.tag.endswith("depend")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("field", ["name", "version", "description", "license", "maintainer"])
def test_manifest_agrees_with_setup(field: str, manifest: ElementTree.Element, metadata: dict[str, Any]) -> None:
    assert (manifest.findtext(field) or "").rstrip(".") == metadata[field]


def test_maintainer_has_the_same_address(manifest: ElementTree.Element, metadata: dict[str, Any]) -> None:
    assert [element.get("email") for element in manifest.findall("maintainer")] == [metadata["maintainer_email"]]


def test_ros_wheels_are_the_manifest_s_ros_packages(manifest: ElementTree.Element, metadata: dict[str, Any]) -> None:
    wheels = {
        re.split(r"[\[<>=]", name)[0].removeprefix("ros-").replace("-", "_")
        for name in metadata["extras_require"]["ros"]
    }
    assert wheels <= {element.text for element in manifest.findall("exec_depend")}


@pytest.mark.parametrize("page", ["README.md", "docs/ros_install.md"])
def test_the_pages_install_by_pip_what_rosdep_does_not(
    page: str, manifest: ElementTree.Element, metadata: dict[str, Any]
) -> None:
    keys = {element.text for element in manifest.findall("exec_depend")}
    by_rosdep = {"numpy": "python3-numpy", "rich": "python3-rich", "PyYAML": "python3-yaml"}
    lines = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("pip install ")]
    named = {re.split(r"[<>=]", name.strip("'"))[0] for line in lines for name in line.split("#")[0].split()[2:]}
    for wanted in metadata["install_requires"]:
        name = re.split(r"[<>=]", wanted)[0]
        assert name in named or by_rosdep.get(name) in keys, f"{page} does not install {wanted}"


def test_data_files_exist(metadata: dict[str, Any]) -> None:
    folders = dict(metadata["data_files"])
    assert all((ROOT / name).is_file() for names in folders.values() for name in names)
    for folder in ("launch", "config", "ckpt"):
        assert folders[f"share/defeat_ros/{folder}"], f"nothing of {folder}/ is installed"


def test_package_data_exists(metadata: dict[str, Any]) -> None:
    for package, patterns in metadata["package_data"].items():
        assert all(list((ROOT / package).glob(pattern)) for pattern in patterns)


def test_every_folder_of_modules_is_a_package(metadata: dict[str, Any]) -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "defeat_ros").rglob("*.py")}
    assert {str(folder).replace(os.sep, ".") for folder in folders} == set(metadata["packages"])


def test_entry_points_name_functions(metadata: dict[str, Any]) -> None:
    for entry in metadata["entry_points"]["console_scripts"]:
        module, _, function = entry.partition(" = ")[2].partition(":")
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert function in {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def test_colcon_runs_these_tests_with_pytest(metadata: dict[str, Any]) -> None:
    assert any(re.split(r" |<|=|>|!", name)[0] == "pytest" for name in metadata["extras_require"]["test"])


@pytest.mark.parametrize("script", ["dev", ".ci/run"])
def test_script_parses_and_may_run(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    assert os.access(ROOT / script, os.X_OK)


def dev(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", ROOT / "dev", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def test_dev_shows_its_commands(tmp_path: Path) -> None:
    usage = dev("help", cwd=tmp_path, PATH=os.environ["PATH"])
    assert usage.returncode == 0
    assert "./dev demo" in usage.stdout
    assert "./dev test" in usage.stdout


@pytest.mark.parametrize("arguments", [(), ("bake",)])
def test_dev_refuses_what_it_does_not_know(arguments: tuple[str, ...]) -> None:
    refused = dev(*arguments, PATH=os.environ["PATH"])
    assert refused.returncode == 2
    assert "./dev demo" in refused.stderr


def test_dev_says_in_one_line_that_python_is_missing(tmp_path: Path) -> None:
    (tmp_path / "dev").write_bytes((ROOT / "dev").read_bytes())
    missing = tmp_path / "no such python"
    refused = subprocess.run(
        ["bash", tmp_path / "dev", "test"],
        env={"PATH": os.environ["PATH"], "PYTHON": str(missing)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert str(missing) in refused.stderr
    assert not (tmp_path / ".venv").exists()


def test_import_does_not_load_torch() -> None:
    subprocess.run(
        [sys.executable, "-c", "import sys, defeat_ros; assert 'torch' not in sys.modules"], cwd=ROOT, check=True
    )


@pytest.mark.parametrize("name", ["nav2_voxel_layer", "nav2_stvl", "depthimage_to_laserscan"])
def test_presets_are_yaml_that_takes_our_cloud(name: str) -> None:
    tree = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())

    def sources(node: Any) -> list[dict[str, Any]]:
        """Observation sources, wherever they are."""
        if not isinstance(node, dict):
            return []
        found = [node] if "topic" in node else []
        return found + [one for child in node.values() for one in sources(child)]

    taken = sources(tree)
    assert (name == "depthimage_to_laserscan") == (not taken)
    for source in taken:
        assert (source["topic"], source["data_type"]) == ("/depth/points", "PointCloud2")
        # What marks must not be the road; what clears must be: Nav2 drops points below the height first.
        low = source.get("min_obstacle_height", -1.0)
        assert low > 0.2 if source["marking"] else low < 0
