"""
A clock that is ``CHAOS_CLOCK_SECONDS`` off, for processes with this folder on their path.

Only the wall clock: what Python code asks `time.time` for. Timers run on, as they do on a machine
whose clock was set wrong.
"""

import os
import time

_off = float(os.environ.get("CHAOS_CLOCK_SECONDS", "0"))
_seconds, _nanoseconds = time.time, time.time_ns

time.time = lambda: _seconds() + _off
time.time_ns = lambda: _nanoseconds() + int(_off * 1e9)
