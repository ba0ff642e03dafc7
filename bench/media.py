"""
How much of a loopback media host and OneLake claimx' transfers use: ``make bench-media``.

Ten downloads and ten uploads side by side, beside aiohttp alone, in interleaved rounds: files of
200 KB and of 50 MB. Then one of 5 GiB, for its memory. Ends with one line of JSON: ratios of
megabytes a second (medians of the rounds), and the megabytes that the great file took above idle.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from pipelines.processes import processes
from pipelines.sandbox import sandbox
from pipelines.serving import port_in
from pipelines.transfers import HOW, Transfers

KB, MB, GB = 1000, 1000**2, 2**30
SIZES = {"200kb": (200 * KB, 1000), "50mb": (50 * MB, 24)}
RUN_SECONDS = 600


class Bench:
    """Rounds on one pair of servers."""

    def __init__(self, folder: Path, host: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._host = host
        self._environment = environment
        self._runs = 0

    def run(self, how: str, size: int, files: int) -> dict[str, float]:
        """Bring files through in a process of its own; returns what it said, and MB/s."""
        self._runs += 1
        folder = self._folder / f"run {self._runs}"
        folder.mkdir()
        job = Transfers(
            self._host,
            self._environment["ONELAKE_ENDPOINT"],
            self._environment["ONELAKE_CLAIMX_PATH"],
            str(folder),
            size,
            files,
            f"{how}-{self._runs}",
        )
        command = [sys.executable, "-m", "pipelines.transfers", how, str(job.save())]
        done = subprocess.run(  # noqa: S603 - our own program
            command,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=RUN_SECONDS,
            env=self._environment,
        )
        shutil.rmtree(folder)
        found: dict[str, float] = json.loads(done.stdout)
        found["mb_s"] = size * files / MB / found["seconds"]
        told = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        print(f"{how:8} {files:5} x {size / MB:9.1f} MB: {told}", flush=True)
        return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--great", type=float, default=5.0, help="GiB of the great file, 0: none")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the files")
    options = parser.parse_args(arguments)
    line: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="claimx-media-") as name:
        folder = Path(name)
        with (
            sandbox(folder / "sandbox", 100, "no-media") as told,
            processes(folder, dict(told["environment"])) as stack,
        ):
            ports = folder / "media.port"
            stack.run("media", [sys.executable, "-m", "pipelines.media_server", str(ports)])
            bench = Bench(folder, f"http://127.0.0.1:{port_in(ports)}", stack.environment)
            for what, (size, files) in SIZES.items():
                few = max(1, round(files * options.scale))
                rounds = [
                    {how: bench.run(how, size, few) for how in HOW} for _ in range(options.rounds)
                ]
                ratios = [one["claimx"]["mb_s"] / one["aiohttp"]["mb_s"] for one in rounds]
                line[f"ratio_{what}"] = round(median(ratios), 2)
                line[f"cpu_ratio_{what}"] = round(
                    median(one["claimx"]["cpu"] / one["aiohttp"]["cpu"] for one in rounds), 2
                )
            if options.great:
                line["great_gib"] = options.great
                line["great_mb"] = round(bench.run("claimx", round(options.great * GB), 1)["mb"])
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
