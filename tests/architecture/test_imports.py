"""The shape of the code: who may import whom, and that importing does nothing."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import claimx

ROOT = Path(__file__).parents[2]


def test_imports_flow_one_way():
    """The contracts stand in pyproject.toml; a change that breaks one changes the architecture."""
    found = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 0, found.stdout


def test_importing_reads_no_environment():
    """Configuration is read when a process starts, never when a module is imported."""
    modules = [
        module.name
        for module in pkgutil.walk_packages(claimx.__path__, "claimx.")
        if not module.name.endswith("__main__")
    ]
    program = (
        "import os\n"
        "class Watched(dict):\n"
        "    def _seen(self, key):\n"
        "        if str(key).startswith(('CLAIMX', 'REDIS', 'EVENTHOUSE', 'ONELAKE', 'FLOWER')):\n"
        "            raise SystemExit(f'{key} was read at import')\n"
        "    def get(self, key, default=None):\n"
        "        self._seen(key); return super().get(key, default)\n"
        "    def __getitem__(self, key):\n"
        "        self._seen(key); return super().__getitem__(key)\n"
        "os.environ = Watched(os.environ)\n"
        "import " + ", ".join(modules) + "\n"
    )

    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert found.returncode == 0, found.stderr[-2000:]


def test_no_module_is_a_place_for_leftovers():
    """A concept has a name; these are not concepts."""
    names = {path.stem for path in (ROOT / "claimx").rglob("*.py")}

    assert not names & {"utils", "util", "helpers", "common", "misc"}


def test_modules_stay_short():
    """Beyond 300 lines a second concept hides."""
    long = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / "claimx").rglob("*.py")
    }

    assert {name: lines for name, lines in long.items() if lines > 300} == {}
