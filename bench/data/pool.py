"""Threads that run compiled, GIL-free kernels over slices of a batch.

numba's own `prange` is not used: its thread count is process-wide, one of its threading layers aborts when two
Python threads launch kernels at once, another when a process forks, and it takes ten times as long to compile.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


@functools.cache
def pool(threads: int) -> ThreadPoolExecutor:
    """The process's pool of this many threads, started on first use."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"bench-data-{threads}")


# Threads do not survive a fork: a child that inherited the pool would wait for them for ever.
os.register_at_fork(after_in_child=pool.cache_clear)


def slices(n: int, parts: int) -> list[slice]:
    """At most `parts` slices that cover 0..n-1 and differ in length by at most one."""
    parts = min(parts, n)
    return [slice(n * i // parts, n * (i + 1) // parts) for i in range(parts)]


def submit(work: Callable[[slice], None], parts: list[slice], *, threads: int) -> list[Future[None]]:
    """Start work(part) for every slice on the pool; the caller waits for the results, which carry the exceptions."""
    executor = pool(threads)
    return [executor.submit(work, part) for part in parts]


def ahead(work: Callable[[int], T], items: Iterable[int], *, threads: int) -> Iterator[T]:
    """work(item) for every item, in order, computed by the pool while earlier results are consumed.

    Leaving the iterator early drops what was not begun.
    """
    executor, waiting = pool(threads), deque[Future[T]]()
    try:
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
