"""Threads that compute: one pool of them, whose members may wait for the next product awake."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def apart(work: Callable[[], Result]) -> Result:
    """The result of `work`, done in a thread that ends with it.

    Each thread that calls torch gets a pool of OpenMP threads of its own, for as long as it lives. Once a process has
    more of them than processors, OpenMP's threads sleep as soon as they have nothing to do, and waking them takes
    longer than a small product lasts: an engine in its own thread beside a main thread that had loaded the model wrote
    half as many tokens (NOTEBOOK.md). So a server loads apart, and the engine's pool is the only one.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="apart") as pool:
        return pool.submit(work).result()
