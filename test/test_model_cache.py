"""The cache of compiled models is for its user alone: what somebody else can change is neither kept nor taken."""

import os
import stat

import pytest

from defeat_ros.inference.backends import model_cache
from defeat_ros.inference.backends.model_cache import CacheEntry, ModelCache

FACTS, ENTRY = {"weights": "abc"}, CacheEntry({"disp": b"1"})
pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def loose_umask():
    ours = os.umask(0)
    yield
    os.umask(ours)


def test_everything_is_made_for_the_user_alone(tmp_path, loose_umask):
    made = ModelCache(tmp_path / "a" / "defeat_ros" / "models")
    assert made.usable()
    made.store(FACTS, ENTRY)
    assert made.load(FACTS) == ENTRY
    folders = [tmp_path / "a", *(path for path in (tmp_path / "a").rglob("*") if path.is_dir())]
    assert len(folders) == 4 and all(mode(path) == 0o700 for path in folders)
    assert all(mode(path) == 0o600 for path in made.folder.rglob("*") if path.is_file())


def test_a_folder_that_was_open_is_closed_before_it_is_used(tmp_path):
    made = ModelCache(tmp_path / "models")
    made.store(FACTS, ENTRY)
    made.folder.chmod(0o777)
    assert made.load(FACTS) is None  # somebody may be changing it
    assert made.usable() and mode(made.folder) == 0o700


def test_a_place_that_others_can_rename_is_not_used(tmp_path):
    (tmp_path / "open").mkdir()
    made = ModelCache(tmp_path / "open" / "models")
    made.store(FACTS, ENTRY)
    (tmp_path / "open").chmod(0o777)
    assert made.load(FACTS) is None and not made.usable()
    (tmp_path / "open").chmod(0o1777)  # as /tmp is
    assert made.load(FACTS) == ENTRY and made.usable()


def test_what_belongs_to_somebody_else_is_not_used(tmp_path, monkeypatch):
    made = ModelCache(tmp_path / "models")
    made.store(FACTS, ENTRY)
    monkeypatch.setattr(model_cache.os, "getuid", lambda: 4242)
    assert made.load(FACTS) is None and not made.usable()
    made.store(FACTS, CacheEntry({"disp": b"2"}))
    monkeypatch.undo()
    assert made.load(FACTS) == ENTRY


def test_a_link_of_somebody_else_is_not_followed(tmp_path):
    if os.getuid() != 0:
        pytest.skip("only root can make a link for somebody else")
    (tmp_path / "victim" / "photos").mkdir(parents=True)
    link = tmp_path / "models"
    link.symlink_to(tmp_path / "victim")
    assert ModelCache(link).usable()  # one's own
    os.lchown(link, 4242, 4242)
    assert not ModelCache(link).usable()
    ModelCache(link).store(FACTS, ENTRY)
    assert [path.name for path in (tmp_path / "victim").iterdir()] == ["photos"]


def test_a_file_of_an_entry_is_no_link(tmp_path):
    made = ModelCache(tmp_path / "models")
    made.store(FACTS, ENTRY)
    (file,) = made.folder.glob("*/disp")
    (tmp_path / "elsewhere").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    assert made.load(FACTS) is None


def test_only_entries_are_removed_to_make_room(tmp_path):
    made = ModelCache(tmp_path)
    others = [tmp_path / f"photos{number}" for number in range(20)]
    for other in others:
        other.mkdir()
    for number in range(model_cache.KEPT + 3):
        made.store({"n": number}, ENTRY)
    assert all(other.is_dir() for other in others)
    assert len(list(tmp_path.iterdir())) == len(others) + model_cache.KEPT


@pytest.mark.parametrize("told", ["cache", "./x", ""])
def test_a_relative_cache_home_is_ignored(told, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", told)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ModelCache().folder == tmp_path / ".cache" / "defeat_ros" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert ModelCache().folder == tmp_path / "mine" / "defeat_ros" / "models"
