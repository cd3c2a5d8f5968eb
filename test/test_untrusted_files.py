"""Files from strangers: nothing but themselves is opened, nothing in them is run, nobody waits for them."""

import multiprocessing
import os
import pickle
import sqlite3
import zipfile

import av
import numpy as np
import pytest
from bag_tools import write_ros2

from defeat_ros.cli.main import main
from defeat_ros.data.bag import BagReader, BagWriter
from defeat_ros.data.bag_recovery import Channel
from defeat_ros.data.bag_types import Types
from defeat_ros.data.folder import read_image
from defeat_ros.data.sources import open_frames
from defeat_ros.errors import MessageError, OutputError, SourceError, TrainingError


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder with a real video, real.mp4, of four frames."""
    folder = tmp_path_factory.mktemp("clip")
    with av.open(str(folder / "real.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in range(4):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * shade, np.uint8), "rgb24")))
        film.mux(stream.encode())
    return folder


LISTS = {
    "concat.mp4": "ffconcat version 1.0\nfile real.mp4\n",
    "net.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "stream.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", list(LISTS))
def test_a_video_that_tells_of_other_files_is_refused(clip, name):
    (clip / name).write_text(LISTS[name])
    with pytest.raises(SourceError, match=rf"{name} cannot be read: it is no video itself, but tells of other files"):
        open_frames(clip / name)


@pytest.mark.parametrize(
    "name", ["concat:real.mp4", "subfile,,start,0,end,0,,:real.mp4", "http:x", "pipe:0", "data:,x"]
)
def test_a_name_is_a_name_not_an_address(clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real.mp4").write_bytes(b"no video")
    (tmp_path / name).write_bytes((clip / "real.mp4").read_bytes())
    assert len(list(open_frames(name))) == 4


@pytest.mark.parametrize("name", ["http://127.0.0.1:9/x.mp4", "rtsp://127.0.0.1/x", "concat:a|b", "/dev/zero"])
def test_addresses_and_devices_are_no_videos(name):
    with pytest.raises(SourceError, match="does not exist|no regular file"):
        open_frames(name)


def read_pipes(folder):
    """Opens pipes that nobody writes to, in every way a user can."""
    for source in (folder / "clip.mp4", folder / "1.png", folder / "image", folder / "bag", folder / "single.mcap"):
        if source.suffix == ".mcap" or source.name == "bag":
            with pytest.raises(SourceError, match="no regular file"):
                BagReader(source)
        else:
            with pytest.raises(SourceError, match="no regular file|can be read"):
                open_frames(source)
    with pytest.raises(MessageError, match="no regular file"):
        read_image(folder / "1.png")


def test_nobody_waits_for_a_pipe(tmp_path):
    for name in ("clip.mp4", "1.png", "image/1.png", "bag/bag.mcap", "single.mcap"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.mkfifo(tmp_path / name)
    reading = multiprocessing.get_context("fork").Process(target=read_pipes, args=(tmp_path,))
    reading.start()
    reading.join(20)
    waits = reading.is_alive()
    reading.kill()
    reading.join()
    assert not waits and reading.exitcode == 0


@pytest.mark.parametrize("path", ["../secret.mcap", "{parent}/secret.mcap", "a/../../secret.mcap", "..", "/dev/zero"])
def test_a_bag_names_no_file_outside_of_it(tmp_path, path):
    with BagWriter(tmp_path / "secret") as bag:
        bag.write_cdr("/secret", "std_msgs/msg/Float64", b"\0\1\0\0" + bytes(8), 1)
    (tmp_path / "secret" / "secret.mcap").rename(tmp_path / "secret.mcap")
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_cdr("/fine", "std_msgs/msg/Float64", b"\0\1\0\0" + bytes(8), 1)
    metadata = tmp_path / "bag" / "metadata.yaml"
    text = metadata.read_text()
    assert "bag.mcap" in text
    metadata.write_text(text.replace("bag.mcap", path.format(parent=tmp_path)))
    try:
        with BagReader(tmp_path / "bag") as bag:
            topics = set(bag.topics)
    except SourceError:
        topics = set()
    assert topics <= {"/fine"}


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x, x, x, x, x, x, x, x FROM n"


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE message_definitions; "
        f"CREATE VIEW message_definitions(id, topic_type, encoding, encoded_message_definition) AS {ENDLESS}",
        f"ALTER TABLE messages RENAME TO m; CREATE VIEW messages(id, topic_id, timestamp, data) AS {ENDLESS}",
        f"ALTER TABLE messages RENAME TO m; CREATE VIEW messages(id, topic_id, timestamp, data) AS {ENDLESS};"
        "CREATE TABLE odd(x); PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql='CREATE' WHERE name='odd'",
        "CREATE TABLE big(id, data BLOB AS (zeroblob(1000000000)))",
        "CREATE TRIGGER t AFTER INSERT ON topics BEGIN DELETE FROM messages; END",
    ],
)
def test_a_database_that_computes_is_refused(tmp_path, change):
    write_ros2(tmp_path / "bag", "sqlite3")
    (file,) = (tmp_path / "bag").glob("*.db3")
    with sqlite3.connect(file) as database:
        database.executescript(change)
    database.close()
    for source in (tmp_path / "bag", file):
        with pytest.raises(SourceError, match="which is computed, expected plain tables"):
            BagReader(source)


@pytest.mark.parametrize("name", ["a?mode=rwc&x=.db3", "..%2fother.db3", "a#b.db3"])
def test_the_name_of_a_database_is_no_address(tmp_path, name):
    write_ros2(tmp_path / "bag", "sqlite3")
    (file,) = (tmp_path / "bag").glob("*.db3")
    (tmp_path / "odd").mkdir()
    file.rename(tmp_path / "odd" / name)
    (tmp_path / "other.db3").write_bytes(b"")
    with BagReader(tmp_path / "odd") as bag:
        assert bag.topics and list(bag.messages())
    assert {path.name for path in (tmp_path / "odd").iterdir()} == {name}


NOTHING = b"\0\1\0\0\0"


@pytest.mark.parametrize(
    ("kind", "definition", "style", "told"),
    [
        ("a/msg/B", "string[1000000000] x", "msg", "arrays of 1000000000 items"),
        ("a/msg/B", "C[5001] x\nC[5001] y\n" + 80 * "=" + "\nMSG: a/C\nint8 x", "msg", "arrays of 10002 items"),
        (
            "a/msg/B",
            "module a { module msg { const long X = 1 << 99999999999; struct B { long x; }; }; };",
            "idl",
            "shift",
        ),
        ("a/msg/B", "int8 x # " + 300_000 * "x", "msg", "300009 characters"),
        ("a/msg/B:\n    import os\nclass C", "int8 x", "msg", "cannot be read"),
        ("a/msg/B", "int8 x\nint8 y\n    import os", "msg", "cannot be read"),
    ],
)
def test_a_definition_that_would_make_a_monster_is_refused(kind, definition, style, told):
    with pytest.raises(MessageError, match=told):
        Types().message(Channel("/x", kind, "cdr", definition, style), NOTHING)


def test_no_bag_redefines_a_type_that_is_well_known():
    own = Channel("/x", "std_msgs/msg/Float64", "cdr", "string[9] data", "msg")
    assert Types().message(own, b"\0\1\0\0" + np.float64(1.5).tobytes()).data == 1.5


def test_strings_of_a_definition_are_not_run(tmp_path):
    text = f"""string X="\\"; open('{tmp_path}/sprung', 'w'); \\""\nint8 x"""
    made = Types().message(Channel("/x", "a/msg/B", "cdr", text, "msg"), NOTHING)
    assert made.x == 0 and not list(tmp_path.iterdir())


def test_control_characters_do_not_reach_the_terminal(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "\x1b]0;owned\x07.mp4"), str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "\x1b" not in told and "\x07" not in told and "\\x1b]0;owned" in told


def test_what_weights_say_of_themselves_is_text(tmp_path, capsys):
    import torch

    from defeat_ros.checkpoint.writing import write_checkpoint

    note = "[/bold] [red]x[/red] \x1b]0;owned\x07"
    write_checkpoint(tmp_path / "w.safetensors", {"a": torch.zeros(2)}, {}, {"note": note, "[/]": 1})
    assert main(["info", str(tmp_path / "w.safetensors")]) == 0
    told = capsys.readouterr().out
    assert "[/bold] [red]x[/red] \\x1b]0;owned\\x07" in told and "\x1b]0" not in told


def test_the_state_of_a_run_runs_nothing_and_does_not_grow(tmp_path):
    import torch

    from defeat_ros.training.state import STATE_FILE, load_state, save_state

    class Sprung:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    for writer in (torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))):
        writer({"format": 1, "model": Sprung()}, tmp_path / STATE_FILE)
        with pytest.raises(TrainingError, match="unsafe to read"):
            load_state(tmp_path)
    assert not (tmp_path / "sprung").exists()
    save_state(tmp_path, {"zeros": torch.zeros(100_000)})
    assert load_state(tmp_path) is not None
    with zipfile.ZipFile(tmp_path / STATE_FILE) as whole, zipfile.ZipFile(tmp_path / "small", "w", 8) as small:
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    (tmp_path / "small").rename(tmp_path / STATE_FILE)
    with pytest.raises(TrainingError, match="unsafe to read .compressed entries"):
        load_state(tmp_path)


def test_the_lock_of_a_run_is_no_way_to_another_file(tmp_path):
    from defeat_ros.training.state import only_run

    (tmp_path / "mine").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OutputError, match="cannot write to"), only_run(tmp_path / "run"):
        pass
    assert (tmp_path / "mine").read_text() == "kept"


def test_names_of_recordings_are_no_markup(capsys):
    from defeat_ros.evaluation import tables

    table = tables._table("[/title]", [""], ["[/b]", ":smile:"])
    table.add_row("[red]x[/red]", "1", "2")
    tables._print(table)
    told = capsys.readouterr().out
    assert all(name in told for name in ("[/title]", "[/b]", ":smile:", "[red]x[/red]"))
