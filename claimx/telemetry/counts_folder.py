"""Where the children of one worker keep their counts, for the parent to add up."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from claimx.domain.times import age

MOST_VALUES = 64  # of a label whose values come from outside, such as an unknown event type
OTHER = "other"

_OLD_SECONDS = 3600.0  # children whose parent was killed end their chunks first, and count

_OF_A_CHILD = re.compile(r"(?P<kind>[a-z_]+)_(?P<pid>\d+)\.db")


def made(host: str) -> Path:
    """
    Make this process's folder on *host*, and remove those that its killed workers left.

    A worker removes its own at its end. An old one with the number of this process was another's:
    those of a container have the same numbers each time that it starts.
    """
    prefix = f"claimx-metrics-{re.sub(r'[^A-Za-z0-9]+', '-', host)}-"
    owned = re.compile(rf"{prefix}(\d+)-\w+")
    for left in Path(tempfile.gettempdir()).iterdir():
        owner = owned.fullmatch(left.name)
        if owner is not None and _is_over(int(owner[1])) and _is_old(left):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


def there() -> Path | None:
    """
    Return the folder of this worker, made again if somebody has removed it; None without one.

    Whoever clears old temporary files may: a new child could then count nothing, and so do nothing.
    What was counted before is lost to the sums.
    """
    named = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not named:
        return None
    folder = Path(named)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def merge_ended(folder: Path) -> None:
    """
    Put what ended children counted into one file for all of them, so that the files stay few.

    Each child keeps `MOST_VALUES` of a label, and others than the one before it; all that have
    ended keep as many together, or a worker would tell more with each child that it replaces.

    For the parent, while nobody else reads them. Dying in the midst costs what goes with the
    parent anyway.
    """
    from prometheus_client.mmap_dict import MmapedDict

    for left in list(folder.iterdir()):
        named = _OF_A_CHILD.fullmatch(left.name)
        if named is None or _lives(int(named["pid"])):
            continue
        kind = named["kind"]
        together = MmapedDict(str(folder / f"{kind}_ended.db"))  # type: ignore[no-untyped-call]  # the library is untyped there
        labels = _Labels()
        for key, _, _ in together.read_all_values():  # type: ignore[no-untyped-call]  # as above
            labels.bounded(key)
        # an empty one is of a child that was killed as it made it, and cannot be read
        found = MmapedDict.read_all_values_from_file(str(left)) if left.stat().st_size else ()  # type: ignore[no-untyped-call]  # as above
        for told, value, at, _ in found:
            key = labels.bounded(told)
            before, since = together.read_value(key)  # type: ignore[no-untyped-call]  # as above
            if not kind.startswith("gauge"):
                together.write_value(key, before + value, at)  # type: ignore[no-untyped-call]  # as above
            elif at >= since:  # of a gauge the newest counts
                together.write_value(key, value, at)  # type: ignore[no-untyped-call]  # as above
        together.close()  # type: ignore[no-untyped-call]  # as above
        left.unlink()


class _Labels:
    """The values that each label of each sample has, `MOST_VALUES` at the most."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], set[str]] = defaultdict(set)

    def bounded(self, key: str) -> str:
        """Return a sample's key in the library's form, with *other* for values beyond the most."""
        metric, sample, labels, meaning = json.loads(key)
        for name, value in labels.items():
            kept = self._kept[sample, name]
            if value in kept or len(kept) < MOST_VALUES:
                kept.add(value)
            else:
                labels[name] = OTHER
        return json.dumps([metric, sample, labels, meaning], sort_keys=True)


def _is_over(worker: int) -> bool:
    return worker == os.getpid() or not _lives(worker)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True


def _is_old(folder: Path) -> bool:
    with suppress(FileNotFoundError):  # another worker was faster
        return age(folder.stat().st_mtime, time.time()) > _OLD_SECONDS
    return False
