"""``python -m claimx.web``: Flower."""

from __future__ import annotations

import sys


def main() -> None:
    """Run it; Ctrl-C ends it without a traceback, while all that it needs is imported, too."""
    try:
        from claimx.web import flower

        flower.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
