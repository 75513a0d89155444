"""What benchmarks have in common: runs in processes of their own, and their peak memory."""

import io
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from typing import Any

import httpx

# Imports no torch: a child's peak memory starts at what its parent had.


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(quietly, function, *arguments).result()


def quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function without what libraries print while they load."""
    with redirect_stdout(io.StringIO()):
        return function(*arguments)


def answering(address: str) -> None:
    """Wait until a server that was just started answers, a minute at most."""
    for _ in range(300):
        try:
            httpx.get(address)
            return
        except httpx.TransportError:
            time.sleep(0.2)


def peak_memory() -> float:
    """Most memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
