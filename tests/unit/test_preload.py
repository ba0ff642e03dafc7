"""What a worker imports before it forks."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

_PROGRAM = """
import sys, threading
from claimx import startup, workers
startup.load_settings()
workers.preload(sys.argv[1:])
print(*sys.modules)
print(threading.active_count(), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("queue", "lake"), [("poll", True), ("maintenance", True), ("enrich", False)]
)
def test_what_a_worker_uses_is_imported_before_the_fork(queue, lake):
    """
    It is there once for all children; the lake, which is large, only where something looks into it.

    A thread of Python's that an import started would be gone in the children.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, queue],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    loaded = set(done.stdout.split())
    assert {"aiohttp", "azure.kusto.data", "claimx.services.enrich"} <= loaded
    assert {"deltalake", "pyarrow"} & loaded == ({"deltalake", "pyarrow"} if lake else set())
    assert "azure.storage.filedatalake" not in loaded  # uploads do without it (ADR 0015)
    assert done.stderr.strip() == "1"


_FORKS = """
import os
from claimx import bootstrap, startup, workers
settings = startup.load_settings()
workers.preload(["poll"])
for child in range(3):
    if os.fork() == 0:
        try:
            from claimx.domain.changes import Change, Source
            from claimx.domain.tables import MEDIA
            lake = bootstrap.lake_of(settings)
            lake.ensure(MEDIA)
            said = {"media_id": str(child), "project_id": "7"}
            row = Change(MEDIA.name, said, Source.ANSWER, event_id="e", event_time=1)
            lake.upsert(MEDIA, [row], 2)
            assert lake.maintain(MEDIA).problems == ()
            os._exit(0)
        finally:  # whatever came: this is not the parent
            import traceback; traceback.print_exc()
            os._exit(1)
print([os.wait()[1] for _ in range(3)])
"""


def test_children_use_the_lake_that_their_parent_imported(tmp_path):
    """Deltalake panics in a child whose parent used it, and must not where it was only imported."""
    done = subprocess.run(
        [sys.executable, "-c", _FORKS],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"CLAIMX_LAKE_PATH": str(tmp_path)},
    )

    assert done.stdout.splitlines()[-1] == "[0, 0, 0]", done.stderr
    assert DeltaTable(tmp_path / "claimx_media").to_pyarrow_table().num_rows == 3


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


_WORKER = """
import sys
from types import SimpleNamespace
from claimx import processes
from claimx.celery import app
early = "pyarrow" in sys.modules
processes._before_fork(sender=SimpleNamespace(app=app))
pyarrow = sys.modules["pyarrow"]
print(early, pyarrow.default_memory_pool().backend_name)
"""


@pytest.mark.parametrize("program", [_ARROW, _WORKER], ids=["writer", "worker before it forks"])
@pytest.mark.parametrize(
    ("chosen", "found"), [({}, "system"), ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "mimalloc")]
)
def test_what_a_look_into_a_table_took_goes_back_to_the_system(tmp_path, program, chosen, found):
    """Arrow's own allocator keeps it, 80 MB in each child; it is chosen when Arrow is imported."""
    done = run(program, tmp_path, chosen)

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
