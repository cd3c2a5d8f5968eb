"""Give broken inputs to every parser, each in a watched process; by hand, for as long as one likes.

    .venv/bin/python test/fuzz_inputs.py --inputs 10000 --seed 1
    .venv/bin/python test/fuzz_inputs.py --only bag --seed 1 --index 17     # one input again, with all that it says

What breaks the law (see `fuzz/__init__.py`) is kept as a file under --keep, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from fuzz import targets
from fuzz.guard import GOOD, LIMIT_S, Guard, Verdict, keep

KINDS = ("accepted", "refused", "traceback", "hang", "memory", "crash", "code run")


def main() -> int:
    """Run, print a table, keep what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000, help="how many in all (default 1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=sorted(targets()), help="these targets")
    parser.add_argument("--index", type=int, help="one input of the --only target")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help=f"time for one input (default {LIMIT_S:g})")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long, with what is done")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_failures"), help="folder for inputs that fail")
    options = parser.parse_args()
    names = options.only or list(targets())
    if options.index is not None:
        with Guard(options.limit_s) as guard:
            verdict = guard.run(names[0], options.seed, options.index)
        kept = keep(names[0], options.seed, options.index, options.keep)
        print(f"{verdict.kind} in {verdict.seconds:.2f} s, {verdict.grown_mb} MB: {verdict.detail}\n{kept}")
        return int(verdict.kind not in GOOD)
    plan = _plan(names, options.inputs)
    deadline = time.monotonic() + 60 * options.minutes
    results = {name: _run(name, number, deadline, options) for name, number in plan.items()}
    results = {name: verdicts for name, verdicts in results.items() if verdicts}
    _print(results)
    return int(any(one.kind not in GOOD for verdicts in results.values() for one in verdicts))


def _plan(names: list[str], inputs: int) -> dict[str, int]:
    shares = {name: targets()[name].share for name in names}
    total = sum(shares.values())
    plan = {name: max(1, inputs * share // total) for name, share in shares.items()}
    plan[names[0]] += max(0, inputs - sum(plan.values()))
    return plan


def _run(name: str, number: int, deadline: float, options: argparse.Namespace) -> list[Verdict]:
    verdicts: list[Verdict] = []
    told: Counter[str] = Counter()
    started = time.monotonic()
    with Guard(options.limit_s) as guard:
        for index in range(number):
            if time.monotonic() > deadline:
                break
            verdict = guard.run(name, options.seed, index)
            verdicts.append(verdict)
            if verdict.kind in GOOD:
                continue
            last = (verdict.detail.strip().splitlines() or [""])[-1]
            told[f"{verdict.kind} {last[:60]}"] += 1
            if told[f"{verdict.kind} {last[:60]}"] <= 3:  # one fault shows in many inputs
                kept = keep(name, options.seed, index, options.keep)
                print(
                    f"{name} --seed {options.seed} --index {index}: {verdict.kind}: {last[:300]} -> {kept}", flush=True
                )
    seconds = time.monotonic() - started
    bad = sum(one.kind not in GOOD for one in verdicts)
    print(f"{name}: {len(verdicts)} inputs in {seconds:.0f} s, {bad} break the law", file=sys.stderr, flush=True)
    return verdicts


def _print(results: dict[str, list[Verdict]]) -> None:
    head = ["target", "inputs", *KINDS, "slowest s", "most MB"]
    rows = [
        [name, len(found), *(sum(one.kind == kind for one in found) for kind in KINDS), *_worst(found)]
        for name, found in results.items()
    ]
    every = [one for found in results.values() for one in found]
    rows.append(["all", len(every), *(sum(one.kind == kind for one in every) for kind in KINDS), *_worst(every)])
    lines = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _worst(found: list[Verdict]) -> tuple[str, int]:
    return f"{max(one.seconds for one in found):.2f}", max(one.grown_mb for one in found)


if __name__ == "__main__":
    sys.exit(main())
