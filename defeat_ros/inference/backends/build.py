"""Makes the backend: tries what `choose` lists, from the cache or anew, until one gives the right numbers."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from defeat_ros.errors import BackendError, CheckpointError
from defeat_ros.inference.backends.check import Difference
from defeat_ros.inference.backends.choose import Choice, candidates, installed_runtimes, processor_flags
from defeat_ros.inference.backends.model_cache import ModelCache
from defeat_ros.inference.backends.prepare import Source, cache_facts, command, compile_and_check, open_runtime
from defeat_ros.inference.backends.protocol import Runtime, RuntimeBackend, resolve_device


@dataclass(frozen=True)
class Built:
    """A backend that was held against float32 PyTorch, and how it came to be.

    Attributes:
        backend: it.
        choice: what it is, and why it was picked.
        difference: how far it is from float32 PyTorch.
        warnings: what was tried in vain before, each a sentence.
    """

    backend: RuntimeBackend
    choice: Choice
    difference: Difference
    warnings: tuple[str, ...]


def make_backend(
    source: Source,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    cache: ModelCache | None = None,
) -> Built:
    """The fastest runtime that works here and gives the right numbers.

    Args:
        source: the networks.
        backend, device, precision: see `choose.candidates` and `resolve_device`.
        cache: of compiled models; None: the user's.

    Raises:
        BackendError: a device or runtime that is not here was asked for, or none gives the right numbers.
        CheckpointError: weights of another architecture.
    """
    where = resolve_device(device, torch.cuda.device_count())
    tried = candidates(backend, where, precision, installed_runtimes(), processor_flags())
    warnings = list[str]()
    for choice in tried:
        try:
            runtime, difference = _checked(choice, source, cache or ModelCache())
        except CheckpointError:
            raise
        except Exception as error:  # whatever a runtime raises on a machine that it does not like
            told = " ".join(str(error).split())[:300]
            warnings.append(f"{choice} cannot be used: {told or type(error).__name__}")
            continue
        made = RuntimeBackend(runtime, *source.feature_limits)
        return Built(made, choice, difference, tuple(warnings))
    raise BackendError("; ".join(warnings))


def remake(choice: Choice, source: Source, cache: ModelCache | None = None) -> RuntimeBackend:
    """The backend of a choice that has run here before, within a second or two: nothing is compiled or checked.

    Args:
        choice: `Built.choice`, or `PLAIN`.
        source: the same networks.
        cache: the same one.

    Raises:
        BackendError: its compiled models are not in the cache.
        Exception: whatever a runtime raises that does not work any more.
    """
    files: Mapping[str, bytes] = {}
    if choice.runtime != "torch":
        entry = (cache or ModelCache()).load(cache_facts(choice, source))
        if entry is None:
            raise BackendError(f"{choice} is not in the cache of compiled models any more")
        files = entry.files
    return RuntimeBackend(open_runtime(choice, source, files), *source.feature_limits)


def _checked(choice: Choice, source: Source, cache: ModelCache) -> tuple[Runtime, Difference]:
    """The runtime of a choice; where the cache does not have it, it is compiled and checked in another process.

    Raises:
        BackendError: it cannot be compiled, or gives other numbers than float32 PyTorch.
    """
    found = _cached(choice, source, cache)
    if found is None and choice.runtime != "torch":
        if not (source.checkpoint.path.is_file() and cache.usable()):
            return compile_and_check(choice, source, cache)
        source.model  # noqa: B018 - weights that do not fit are told as such, here
        child = subprocess.run(
            command(choice, source, cache), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        if child.returncode:
            lines = child.stderr.decode(errors="replace").strip().splitlines()
            raise BackendError(lines[-1] if lines and child.returncode > 0 else f"it ended with {child.returncode}")
        found = _cached(choice, source, cache)
    return found or compile_and_check(choice, source, cache)


def _cached(choice: Choice, source: Source, cache: ModelCache) -> tuple[Runtime, Difference] | None:
    entry = cache.load(cache_facts(choice, source))
    if entry is None:
        return None
    try:
        return open_runtime(choice, source, entry.files), Difference(**entry.notes["difference"])
    except CheckpointError:
        raise
    except Exception:  # a cache is no reason to fail: once more from the weights
        return None
