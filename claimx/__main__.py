"""``python -m claimx``: the command line."""

from __future__ import annotations

import sys


def run() -> None:
    """Run it; Ctrl-C before it is imported is as one later on."""
    try:
        from claimx.cli.main import main

        main()
    except KeyboardInterrupt:
        print("claimx: interrupted", file=sys.stderr)  # noqa: T201 - the terminal is the interface
        sys.exit(130)


if __name__ == "__main__":
    run()
