"""Ctrl-C while a process begins: an end like any other, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from cli_runner import ROOT

pytestmark = pytest.mark.integration

INTERRUPTION = textwrap.dedent(
    """
    import os, signal, sys

    class AtModule:
        def find_spec(self, name, *_):
            if name == os.environ.get("INTERRUPTED_AT"):
                del os.environ["INTERRUPTED_AT"]
                os.kill(os.getpid(), signal.SIGINT)

    sys.meta_path.insert(0, AtModule())
    """
)


@pytest.mark.parametrize(
    ("words", "module"),
    [
        ("claimx.web", "structlog"),
        ("claimx.web", "claimx.celery"),
        ("claimx.web", "flower.app"),
        ("claimx status", "click"),
        ("claimx status", "claimx.domain.errors"),
        ("claimx status", "claimx.bootstrap"),
        ("claimx dlq ls", "claimx.cli.dlq"),
        ("claimx backfill --from 2026-01-01 --to 2026-01-02", "claimx.cli.source"),
        ("claimx demo", "claimx.cli.stack"),
        ("claimx up", "claimx.cli.stack"),
        ("claimx sandbox", "claimx.sandbox.world"),
    ],
)
def test_a_ctrl_c_before_all_is_imported_shows_no_traceback(tmp_path, words, module):
    """That takes a second, and somebody who has mistyped something does not wait for it."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTION)
    told = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "REDIS_URL": "redis://127.0.0.1:1",
        "FLOWER_BASIC_AUTH": "",
        "PORT": "0",
        "INTERRUPTED_AT": module,
    }

    done = subprocess.run(
        [sys.executable, "-m", *words.split()],
        cwd=tmp_path,
        env=os.environ | told,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "Traceback" not in done.stderr
    assert done.returncode == 130, done.stderr
