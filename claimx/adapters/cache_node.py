"""Which cache folder it is: its identity, the same for all processes that share it."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from secrets import token_hex

from claimx.adapters.cache_names import new_part

_NODE_FILE = ".node"
_NODE = re.compile(r"[0-9a-f]{32}")


def is_node(text: str) -> bool:
    """Say whether it is an identity that `node_of` gives."""
    return _NODE.fullmatch(text) is not None


def node_of(root: Path, known: str = "") -> str:
    """
    Return the folder's identity, giving it one first; of racing processes one wins.

    One that was *known* by its identity before it was removed is given that again. Raises OSError.
    """
    path = root / _NODE_FILE
    for _ in range(3):
        try:
            text = path.read_text(errors="replace").strip()
            if is_node(text):
                return text
            path.unlink(missing_ok=True)  # cut short by a crash
        except FileNotFoundError:
            pass
        mine = root / new_part()
        mine.write_text(known or token_hex(16))
        try:
            os.link(mine, path)  # unlike a rename, never replaces another's
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                mine.replace(path)
        finally:
            mine.unlink(missing_ok=True)
    text = path.read_text(errors="replace").strip()
    if not is_node(text):
        msg = f"no identity can be kept in {path}"
        raise OSError(errno.EILSEQ, msg)
    return text
