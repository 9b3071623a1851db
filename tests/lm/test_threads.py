"""Work done apart leaves no pool of threads behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lm.threads import apart

COUNTED = """
import time
from pathlib import Path
import torch
from lm.threads import apart

def threads():
    return len(list(Path("/proc/self/task").iterdir()))

def product():
    return float((torch.ones(512, 512) @ torch.ones(512, 512)).sum())

torch.set_num_threads(4)
before = threads()
assert apart(product) == 512.0**3
until = time.monotonic() + 60
while threads() > before and time.monotonic() < until:  # they end a moment after their owner
    time.sleep(0.01)
after = threads()
product()
print(after - before, threads() - before)
"""


def test_what_comes_back_and_what_goes_wrong() -> None:
    assert apart(lambda: 7) == 7

    def broken() -> None:
        raise ArithmeticError("not today")

    with pytest.raises(ArithmeticError, match="not today"):
        apart(broken)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_its_pool_ends_with_it() -> None:
    done = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, check=True)
    left, here = map(int, done.stdout.split())
    assert left == 0
    assert here > 0, "the same product in the main thread keeps its threads"
