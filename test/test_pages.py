"""README and docs/: links lead somewhere, and what is to be typed is what the programs take."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path

import pytest

from defeat_ros.cli.common import parse_overrides
from defeat_ros.cli.main import command_line

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "ckpt/README.md", *sorted(f"docs/{page.name}" for page in ROOT.glob("docs/*.md"))]


def typed(page: str) -> list[list[str]]:
    """The commands in a page's blocks of code, each as its words; continued lines joined, comments left out."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if re.match(r"(\S*/)?(defeat-ros|ros2) ", line)]


def ours(line: list[str]) -> list[str]:
    """The arguments of `defeat-ros` in a command; none where it is another command."""
    line = line[3:] if line[:3] == ["ros2", "run", "defeat_ros"] else line
    return line[1:] if line[0].endswith("defeat-ros") else []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) if "://" not in link]
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_our_commands_parse_and_their_parameters_exist(page: str) -> None:
    from defeat_ros.inference.config import DepthConfig
    from defeat_ros.settings import entries
    from defeat_ros.training.config import TrainConfig

    for line in filter(None, map(ours, typed(page))):
        if line[0] == "play":  # has a command line of its own, which wants ROS
            continue
        words = [word for word in line if word != "..."]
        if line[0] == "train" and "--out" not in words:  # the model card says once that each had one
            words += ["--out", "run"]
        options = command_line().parse_args(words)
        given = parse_overrides(getattr(options, "set", []))
        known = {entry.name for entry in entries(TrainConfig if line[0] == "train" else DepthConfig)}
        assert given.keys() <= known, f"{page}: {shlex.join(line)}"


@pytest.mark.parametrize("page", PAGES)
def test_launch_arguments_are_declared(page: str) -> None:
    declared = {
        file.name: set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', file.read_text(encoding="utf-8")))
        for file in (ROOT / "launch").iterdir()
    }
    for line in typed(page):
        if line[:3] == ["ros2", "launch", "defeat_ros"]:
            names = {word.partition(":=")[0] for word in line[4:] if ":=" in word}
            assert names <= declared[line[3]] | declared["depth.launch.py"], f"{page}: {shlex.join(line)}"


def test_commands_are_found_in_the_pages() -> None:
    """The tests above look at something."""
    lines = [line for page in PAGES for line in typed(page)]
    assert len([line for line in lines if ours(line)]) > 40 and ["ros2", "launch"] in [line[:2] for line in lines]


def test_the_model_card_is_of_the_checkpoint_that_ships(weights: Path) -> None:
    card = (ROOT / "ckpt" / "README.md").read_text(encoding="utf-8")
    assert f"`{weights.name}`" in card and hashlib.sha256(weights.read_bytes()).hexdigest() in card
    assert weights.stat().st_size <= 66e6
