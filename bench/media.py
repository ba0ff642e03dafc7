"""
How much of a loopback media host and OneLake claimx' transfers use: ``make bench-media``.

Ten downloads and ten uploads side by side, beside aiohttp alone, in interleaved rounds: files of
200 KB and of 50 MB, by one process, and by two with five of each, as a worker has several. Then one
of 5 GiB, for its memory. Ends with one line of JSON: ratios of megabytes a second (medians of the
rounds), and the megabytes that the great file took above idle.
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
from pipelines.transfers import Transfers

KB, MB, GB = 1000, 1000**2, 2**30
SIZES = {"200kb": (200 * KB, 1000), "50mb": (50 * MB, 24)}
RUN_SECONDS = 600
SIDE_BY_SIDE = 10
WHO = {"aiohttp": ("aiohttp", 1), "claimx": ("claimx", 1), "claimx in two": ("claimx", 2)}


class Bench:
    """Rounds on one pair of servers."""

    def __init__(self, folder: Path, host: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._host = host
        self._environment = environment
        self._runs = 0

    def run(self, how: str, size: int, files: int, processes: int = 1) -> dict[str, float]:
        """
        Bring files through in *processes* of its own, `SIDE_BY_SIDE` in all at a time.

        Returns seconds from the first one's beginning to the last one's end, CPU seconds of all,
        the megabytes that the largest took above idle, and MB/s.
        """
        self._runs += 1
        jobs = [self._job(how, size, files, processes, n) for n in range(processes)]
        programs = [
            subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "pipelines.transfers", how, str(job.save())],
                stdout=subprocess.PIPE,
                text=True,
                env=self._environment,
            )
            for job in jobs
        ]
        try:
            told = [json.loads(program.communicate(timeout=RUN_SECONDS)[0]) for program in programs]
        finally:
            for program in programs:
                program.kill()  # one that is over is left alone
        for job in jobs:
            shutil.rmtree(job.folder)
        seconds = max(one["ended"] for one in told) - min(one["begun"] for one in told)
        found = {
            "seconds": seconds,
            "cpu": sum(one["cpu"] for one in told),
            "mb": max(one["mb"] for one in told),
            "mb_s": size * sum(job.files for job in jobs) / MB / seconds,
        }
        said = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        print(f"{how:8} x {processes} {files:5} x {size / MB:9.1f} MB: {said}", flush=True)
        return found

    def _job(self, how: str, size: int, files: int, processes: int, number: int) -> Transfers:
        folder = self._folder / f"run {self._runs} {number}"
        folder.mkdir()
        return Transfers(
            self._host,
            self._environment["ONELAKE_ENDPOINT"],
            self._environment["ONELAKE_CLAIMX_PATH"],
            str(folder),
            size,
            max(1, files // processes),
            f"{how}-{self._runs}-{number}",
            SIDE_BY_SIDE // processes,
        )


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
                    {who: bench.run(how, size, few, many) for who, (how, many) in WHO.items()}
                    for _ in range(options.rounds)
                ]
                for who, ending in (("claimx", ""), ("claimx in two", "_in_two")):
                    for kind, figure in (("ratio", "mb_s"), ("cpu_ratio", "cpu")):
                        ratios = [one[who][figure] / one["aiohttp"][figure] for one in rounds]
                        line[f"{kind}_{what}{ending}"] = round(median(ratios), 2)
            if options.great:
                line["great_gib"] = options.great
                line["great_mb"] = round(bench.run("claimx", round(options.great * GB), 1)["mb"])
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
