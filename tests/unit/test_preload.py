"""What a worker imports before it forks."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys, threading
from claimx import bootstrap
bootstrap.preload()
print(*sys.modules)
print(threading.active_count(), file=sys.stderr)
"""


def test_what_is_imported_before_the_fork_survives_it():
    """Deltalake's threads do not, whoever touches it; and a thread of any other would be gone."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )

    loaded = set(done.stdout.split())
    assert {"aiohttp", "azure.kusto.data", "claimx.services.enrich"} <= loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"deltalake", "pyarrow"}}
    assert done.stderr.strip() == "1"


def run(program: str, folder: Path, chosen: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program in *folder*, with an environment of hardly more than is *chosen*."""
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])} | chosen,
    )


_ARROW = """
import sys
import claimx.celery, claimx.cli, claimx.writer
early = "pyarrow" in sys.modules
claimx.writer.startup.load_settings()
import pyarrow
print(early, pyarrow.default_memory_pool().backend_name)
"""


@pytest.mark.parametrize(
    ("chosen", "found"), [({}, "system"), ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "mimalloc")]
)
def test_what_a_look_into_a_table_took_goes_back_to_the_system(tmp_path, chosen, found):
    """Arrow's own allocator keeps it, 80 MB in each child; it is chosen when Arrow is imported."""
    done = run(_ARROW, tmp_path, chosen)

    assert done.stdout.split() == ["False", found]


_TOKIO = """
import os
from claimx import startup
startup.load_settings()
print(os.environ["TOKIO_WORKER_THREADS"])
"""


@pytest.mark.parametrize(("chosen", "found"), [({}, "1"), ({"TOKIO_WORKER_THREADS": "3"}, "3")])
def test_deltalake_has_one_thread_unless_the_environment_says_otherwise(tmp_path, chosen, found):
    """Waking another takes longer than what a flush gives it to do."""
    assert run(_TOKIO, tmp_path, chosen).stdout.split() == [found]


_IS_GLIBC = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
_ARENAS = """
import ctypes, threading
from claimx import startup
startup.load_settings()
def work():
    held = [bytearray(2000) for _ in range(200)]
    together.wait()
together = threading.Barrier(8)
threads = [threading.Thread(target=work) for _ in range(8)]
[one.start() for one in threads]
[one.join() for one in threads]
getattr(ctypes.CDLL(None), "malloc_stats", lambda: None)()
"""


@pytest.mark.parametrize(
    ("chosen", "most"),
    [({}, 2), ({"MALLOC_ARENA_MAX": "1"}, 1), ({"ENV_FILE": "of_its_own.env"}, 3)],
)
def test_threads_share_a_few_heaps(tmp_path, chosen, most):
    """
    Of its own, glibc makes eight a core, and what a thread frees stays with its heap.

    With another C library a process starts as well, and nothing is bounded.
    """
    (tmp_path / "of_its_own.env").write_text("MALLOC_ARENA_MAX=3\n")
    done = run(_ARENAS, tmp_path, chosen)

    assert done.stderr.count("Arena ") == (most if _IS_GLIBC else 0)
