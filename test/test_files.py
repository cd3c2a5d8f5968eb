"""Files that appear whole: whatever lies beside them is not written through."""

import pytest

from defeat_ros.errors import OutputError
from defeat_ros.files import write_json, write_whole


def test_a_link_in_the_way_is_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("kept")
    (tmp_path / ".a.json.part").symlink_to(tmp_path / "mine")
    write_json(tmp_path / "a.json", {"x": float("nan")})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": null\n}\n'
    assert (tmp_path / "mine").read_text() == "kept" and not (tmp_path / "a.json").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "a.json"}


def test_what_a_killed_process_left_is_replaced(tmp_path):
    (tmp_path / ".a.part").write_bytes(b"half of something longer")
    write_whole(tmp_path / "a", lambda file: file.write(b"whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"whole"


def test_a_failure_keeps_the_file_before(tmp_path):
    write_whole(tmp_path / "a", lambda file: file.write(b"before"))

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"No space left on device; the one before is kept"):
        write_whole(tmp_path / "a", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"before"
