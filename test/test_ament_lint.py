"""The linters of ROS over the package, where they are installed (`apt install ros-$ROS_DISTRO-ament-lint-common`).

Not ament_copyright: the notice and the license are in LICENSE, once for all files, not at the head of each.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = [str(ROOT / name) for name in ("defeat_ros", "launch", "setup.py")]
# Our docstrings follow Google's convention. Beyond it: D10x, as ament itself (a docstring is not owed where the name
# and the signature say it all), D402 and D403 (a summary may begin with a name of the code, such as tf), D417
# (arguments that the summary or the type explains).
LEFT_OUT = ["D100", "D101", "D102", "D103", "D104", "D105", "D106", "D107", "D402", "D403", "D417"]


def test_flake8() -> None:
    main = pytest.importorskip("ament_flake8.main", reason="ament_flake8 comes with a ROS 2 installation")
    status, errors = main.main_with_errors(["--config", str(ROOT / "setup.cfg"), *CODE, str(ROOT / "test")])
    assert status == 0, "\n".join(errors)


def test_pep257(capsys: pytest.CaptureFixture[str]) -> None:
    main = pytest.importorskip("ament_pep257.main", reason="ament_pep257 comes with a ROS 2 installation").main
    status = main(["--convention", "google", "--add-ignore", *LEFT_OUT, "--", *CODE])
    assert status == 0, capsys.readouterr()


def test_xmllint(capsys: pytest.CaptureFixture[str]) -> None:
    """The scheme of package.xml is fetched from download.ros.org."""
    main = pytest.importorskip("ament_xmllint.main", reason="ament_xmllint comes with a ROS 2 installation").main
    if shutil.which("xmllint") is None:
        pytest.skip("xmllint is not installed: apt install libxml2-utils")
    status = main([str(ROOT / "package.xml"), str(ROOT / "config"), str(ROOT / "defeat_ros" / "ros")])
    assert status == 0, capsys.readouterr()
