"""What a worker imports before it forks."""

from __future__ import annotations

import subprocess
import sys

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
