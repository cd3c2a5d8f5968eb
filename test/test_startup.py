"""How processes start: nothing is run from the working directory, nobody else may write what they make."""

import os
import stat
import subprocess
import sys
from importlib.util import find_spec

import pytest

from defeat_ros.cli.main import main
from defeat_ros.startup import guard_umask, module_command


@pytest.fixture
def trap(tmp_path):
    """A folder from a stranger: whoever takes a module from it leaves a file there."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in ("numpy", "yaml", "rich", "av", "json", "defeat_ros", "rclpy", "odd_msgs"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(
            f"open({str(folder / 'sprung')!r}, 'a').write({name!r})\nraise SystemExit(3)"
        )
    return folder


def run(line, folder, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_no_module_is_taken_from_the_working_directory(trap):
    for variables in ({}, {"PYTHONSAFEPATH": "1"}):
        done = run(module_command("defeat_ros.cli", "convert", "--help"), trap, **variables)
        assert done.returncode == 0 and "usage: defeat-ros convert" in done.stdout, done.stderr
    assert not (trap / "sprung").exists()
    plain = run([sys.executable, "-m", "defeat_ros.cli", "--help"], trap)
    assert plain.returncode == 3 and (trap / "sprung").exists()  # the trap works


def test_arguments_arrive_as_they_are(tmp_path):
    done = run(module_command("defeat_ros.cli", "convert", "a b; $(c)", "out"), tmp_path)
    assert (done.returncode, done.stderr) == (1, "defeat-ros: a b; $(c) does not exist\n")


def test_play_takes_nothing_from_the_working_directory(trap):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    play = (
        f"import os, sys; from defeat_ros.cli.main import main; os.chdir({str(trap)!r}); sys.exit(main(['play', 'no']))"
    )
    done = run([sys.executable, "-c", play], trap.parent)
    assert (done.returncode, done.stderr) == (1, "defeat-ros play: bag no does not exist\n")
    assert not (trap / "sprung").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [(0o000, 0o022), (0o020, 0o022), (0o002, 0o002), (0o022, 0o022), (0o077, 0o077), (0o040, 0o062)],
)
def test_umask(before, after):
    ours = os.umask(before)
    try:
        guard_umask()
        assert os.umask(0) == after
    finally:
        os.umask(ours)


def test_what_a_command_makes_is_not_for_others_to_write(tmp_path):
    cv2 = pytest.importorskip("cv2")
    numpy = pytest.importorskip("numpy")
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "1.png"), numpy.zeros((48, 64, 3), numpy.uint8))
    ours = os.umask(0)
    try:
        assert main(["convert", str(tmp_path / "in"), str(tmp_path / "bag")]) == 0
    finally:
        os.umask(ours)
    made = [tmp_path / "bag", *(tmp_path / "bag").iterdir()]
    assert len(made) == 3 and not any(stat.S_IMODE(path.stat().st_mode) & 0o022 for path in made)


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_openvino_does_not_report_that_it_is_used():
    from defeat_ros.inference.backends import openvino_runtime

    reporter = openvino_runtime.ov.tools.ovc.telemetry_utils.tm
    assert reporter.__name__ == "openvino.tools.ovc.telemetry_stub" and sys.modules["openvino_telemetry"] is None


FAULTS = """
import resource, sys
from defeat_ros.startup import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
import numpy as np
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        frame = [np.ones((960, 1280), np.float32) for _ in range(6)]
        del frame
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(
    not hasattr(os, "confstr") or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="needs glibc"
)
def test_memory_of_images_is_kept_for_the_next_one():
    def faults(how, **more):
        environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name} | more
        run = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(run, capture_output=True, text=True, check=True, env=environment).stdout)

    plain, users = faults("plain"), faults("keep", MALLOC_ARENA_MAX="2")
    assert faults("keep") * 20 < plain, "each page is cleared once, not with each image"
    assert users * 2 > plain, "the user's own setting is left alone"
