"""A process that stands back is one that the kernel runs last, and for the shortest while."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the idle policy is Linux's")

READ = """
import ctypes, os, platform
from zt_engine.adapters import priority
priority.stand_back()
print(os.sched_getscheduler(0) == os.SCHED_IDLE, os.nice(0))
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # the idle policy itself tells no turn
told = priority._Attributes(size=ctypes.sizeof(priority._Attributes))
number = {"x86_64": 315, "aarch64": 275}.get(platform.machine(), -1)
ctypes.CDLL(None).syscall(number, 0, ctypes.byref(told), told.size, 0)
print(told.runtime)
"""


def stood_back() -> list[str]:
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_who_stands_back_has_the_idle_policy_and_the_lowest_priority() -> None:
    assert stood_back()[0] == "True 19"


@pytest.mark.skipif(
    tuple(int(part) for part in platform.release().split(".")[:2]) < (6, 12) if sys.platform == "linux" else True,
    reason="turns of one's own came with Linux 6.12",
)
def test_the_turns_of_who_stands_back_are_the_shortest_that_linux_gives() -> None:
    assert stood_back()[1] == "100000"
