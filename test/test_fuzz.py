"""A few broken inputs for every parser, the same each time; `fuzz_inputs.py` gives them many more, by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzz import Target, random_for, targets
from fuzz.guard import GOOD, GROWTH_MB, Guard, Verdict, judge

SEED = 1


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard() as one:
        yield one


@pytest.mark.parametrize("name", list(targets()))
def test_only_declared_errors_come_out(guard: Guard, name: str, tmp_path: Path) -> None:
    kinds = set()
    for index in range(targets()[name].quick):
        verdict = guard.run(name, SEED, index)
        kinds.add(verdict.kind)
        again = f"test/fuzz_inputs.py --only {name} --seed {SEED} --index {index}"
        assert verdict.kind in GOOD, f"{verdict.kind}: {verdict.detail}\n{again}"
    assert "refused" in kinds, "no input was bad"


# The watch itself


def _verdict(folder: Path, use: Any, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    monkeypatch.setenv("FUZZ_MARKER", str(folder / "marker"))
    return judge(Target("x", lambda _: None, lambda *_: None, use), None, folder / "use")


def _raise(made: Any, folder: Path) -> None:
    raise KeyError("x")


def _grow(made: Any, folder: Path) -> None:
    bytearray(2**20 * (GROWTH_MB + 40))


def _run_code(made: Any, folder: Path) -> None:
    (folder.parent / "marker").touch()


@pytest.mark.parametrize(
    ("use", "kind"),
    [(lambda *_: None, "accepted"), (_raise, "traceback"), (_grow, "memory"), (_run_code, "code run")],
)
def test_what_breaks_the_law_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Any, kind: str) -> None:
    assert _verdict(tmp_path, use, monkeypatch).kind == kind


def test_a_process_that_dies_is_noticed_and_replaced(guard: Guard) -> None:
    assert guard.run("image", SEED, 0).kind in GOOD
    guard.process.kill()
    guard.process.join()
    assert guard.run("image", SEED, 0).kind == "crash"
    assert guard.run("image", SEED, 0).kind in GOOD


def test_inputs_are_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUZZ_MARKER", str(tmp_path / "marker"))
    target = targets()["params_yaml"]
    texts = ["a: 1\nb: 2\nc: 3"]
    made = [target.make(texts, random_for("params_yaml", 1, index)) for index in range(30)]
    assert made == [target.make(texts, random_for("params_yaml", 1, index)) for index in range(30)]
    assert len(set(made)) > 15
