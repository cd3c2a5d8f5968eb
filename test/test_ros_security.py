"""Security that the environment asks for and this middleware may not have: refused, told, or let through."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from ros_tools import environment, new_domain
from test_player import write_bag

from defeat_ros.errors import SecurityError
from defeat_ros.ros import security
from defeat_ros.ros.dds import middleware
from defeat_ros.ros.security import Support, check_security, enclave_of, security_support

ON = {"ROS_SECURITY_ENABLE": "true"}
FAST, CYCLONE = "rmw_fastrtps_cpp", "rmw_cyclonedds_cpp"


def run(*line, **variables):
    env = {**environment(new_domain()), **variables}
    return subprocess.run([sys.executable, *map(str, line)], env=env, capture_output=True, text=True, timeout=60)


def has_plugins():
    return security_support(middleware()) is not Support.NO


@pytest.mark.skipif(has_plugins(), reason="this middleware has, or may have, the security plugins")
@pytest.mark.parametrize("module", ["node", "player", "recorder", "load", "watch"])
def test_each_process_refuses_to_go_unsecured(module, tmp_path):
    arguments = {
        "node": [],
        "player": [write_bag(tmp_path / "in", frames=2), "--summary", tmp_path / "summary.json"],
        "recorder": [tmp_path / "out", "--topics", "/x"],
        "load": ["--rate", "1", "--seconds", "1", "--size", "64", "48", "--topics", "depth/image_rect", "--pid", "1"],
        "watch": ["--pid", "1", "--topics", "depth/image_rect"],
    }
    done = run("-m", f"defeat_ros.ros.{module}", *arguments[module], **ON)
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    assert lines[0].startswith("cannot start ROS: ROS_SECURITY_ENABLE is 'true', but rmw_") and "unsecured" in lines[0]
    assert {path.name for path in tmp_path.iterdir()} <= {"in"}  # nothing half-made


@pytest.mark.skipif(has_plugins(), reason="this middleware has, or may have, the security plugins")
def test_ros_itself_goes_on_unsecured_in_silence():
    """The fact that makes the check necessary; should ROS ever refuse by itself, this tells."""
    code = "import rclpy; rclpy.init(); node = rclpy.create_node('probe'); print('up', node.get_name())"
    silent = run("-c", code, **ON)
    assert (silent.returncode, silent.stdout.strip(), silent.stderr) == (0, "up probe", "")
    assert run("-c", code, ROS_SECURITY_STRATEGY="Enforce", **ON).returncode == 1


@pytest.mark.skipif(has_plugins(), reason="this middleware has, or may have, the security plugins")
def test_what_the_middleware_refuses_by_itself_is_one_sentence(tmp_path):
    (tmp_path / "enclaves").mkdir()
    code = (
        "from defeat_ros.ros import process; process.check_security = lambda arguments: []; "
        "from defeat_ros.ros.node import main; main()"
    )
    done = run("-c", code, ROS_SECURITY_KEYSTORE=str(tmp_path), **ON)
    told = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert told.startswith("cannot start ROS: ") and "doesn't have the security libraries" in told


@pytest.mark.parametrize("value", ["", "false", "False", "0", "no", "off"])
def test_nothing_is_asked_for(value):
    assert check_security([], {"ROS_SECURITY_ENABLE": value}, FAST) == []


@pytest.mark.parametrize("value", ["1", "True", "TRUE", "yes", " true"])
def test_what_ros_does_not_take_for_yes_is_refused(value):
    with pytest.raises(SecurityError, match=f"is '{value}', which ROS takes for no, expected 'true'"):
        check_security([], {"ROS_SECURITY_ENABLE": value}, FAST)


@pytest.fixture
def enclave(tmp_path, monkeypatch):
    """A middleware with plugins, and a keystore with a whole enclave /front/depth."""
    monkeypatch.setattr(security, "security_support", lambda rmw: Support.YES)
    folder = tmp_path / "enclaves" / "front" / "depth"
    folder.mkdir(parents=True)
    for name in security.FILES:
        (folder / name).write_text("x")
    return folder


def settings(folder, **more):
    return {**ON, "ROS_SECURITY_KEYSTORE": str(folder.parents[2]), **more}


def test_a_whole_enclave_is_let_through(enclave):
    arguments = ["--ros-args", "--enclave", "/front/depth"]
    assert check_security(arguments, settings(enclave), FAST) == []
    assert check_security([], settings(enclave, ROS_SECURITY_ENCLAVE_OVERRIDE="/front/depth"), CYCLONE) == []
    (enclave / "key.pem").rename(enclave / "key.p11")
    assert check_security(arguments, settings(enclave, ROS_SECURITY_STRATEGY="Enforce"), FAST) == []
    (line,) = check_security(arguments, settings(enclave, ROS_SECURITY_STRATEGY="enforce"), FAST)
    assert "'enforce', which ROS takes for 'Permissive', expected 'Enforce'" in line


def test_what_is_missing_of_an_enclave_is_named(enclave):
    with pytest.raises(SecurityError, match="ROS_SECURITY_KEYSTORE is not set"):
        check_security([], ON, FAST)
    with pytest.raises(SecurityError, match=r"enclave '/front/dept' has no folder '.*enclaves/front/dept'"):
        check_security(["--ros-args", "-e", "/front/dept"], settings(enclave), FAST)
    with pytest.raises(SecurityError, match=r"enclave '/' has no identity_ca\.cert\.pem in '.*enclaves'"):
        check_security([], settings(enclave), CYCLONE)
    (enclave / "permissions.p7s").unlink()
    with pytest.raises(SecurityError, match=r"has no permissions\.p7s"):
        check_security(["--ros-args", "--enclave", "/front/depth"], settings(enclave), "rmw_connextdds")


def test_a_middleware_that_is_not_known_is_told_of_not_refused(monkeypatch):
    monkeypatch.setattr(security, "loaded_libraries", list)
    (line,) = check_security([], ON, "rmw_zenoh_cpp")
    assert "whether rmw_zenoh_cpp can secure what it sends is not known" in line
    assert "the middleware" in check_security([], ON, "")[0]


def test_enclave_among_arguments():
    assert enclave_of([], {}) == "/"
    assert enclave_of(["--enclave", "/mine", "--ros-args", "-e", "/a", "--enclave", "/b", "--", "-e", "/c"], {}) == "/b"
    assert enclave_of(["--ros-args", "-e", "/a"], {"ROS_SECURITY_ENCLAVE_OVERRIDE": "/o"}) == "/o"
    assert enclave_of(["--ros-args", "-e"], {}) == "/"


WITH_FAST = {"librmw_fastrtps_shared_cpp.so": b"..get_security_files..", "libfastrtps.so.2.6": b".DDS:Auth:PKI-DH:1.0"}
SENTENCE = b"This Fast DDS version doesn't have the security libraries\n"
CYCLONE_SENTENCE = b"the Cyclone DDS being used does not have security support enabled."


@pytest.mark.parametrize(
    ("rmw", "files", "expected"),
    [
        (FAST, WITH_FAST, Support.YES),
        ("rmw_fastrtps_dynamic_cpp", WITH_FAST, Support.YES),
        (FAST, {**WITH_FAST, "librmw_fastrtps_shared_cpp.so": SENTENCE}, Support.NO),
        (FAST, {**WITH_FAST, "libfastrtps.so.2.6": b"none"}, Support.UNKNOWN),
        (FAST, {"libfastdds.so.3.2": b"DDS:Auth:PKI-DH"}, Support.UNKNOWN),
        (FAST, {**WITH_FAST, "librmw_fastrtps_shared_cpp.so": b""}, Support.UNKNOWN),
        (CYCLONE, {"librmw_cyclonedds_cpp.so": b"x dds_security_ac"}, Support.YES),
        (CYCLONE, {"librmw_cyclonedds_cpp.so": CYCLONE_SENTENCE}, Support.NO),
        ("rmw_connextdds", WITH_FAST, Support.UNKNOWN),
    ],
)
def test_support_is_told_by_what_libraries_contain(tmp_path, rmw, files, expected):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert security_support(rmw, sorted(tmp_path.iterdir())) is expected


def test_libraries_of_this_process_are_found():
    rmw = middleware()
    names = [path.name for path in security.loaded_libraries()]
    assert any(name.startswith(f"lib{rmw}.") for name in names) and len(set(names)) > 10
    assert all(path.is_absolute() for path in security.loaded_libraries())
    gone = [Path("/nowhere/librmw_fastrtps_shared_cpp.so")]
    assert security_support(FAST, gone) is Support.UNKNOWN
