"""The command line: `p2pmail`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly at any moment, also while it is still being loaded."""
    try:
        from gateway.cli import app  # here, for loading it takes a while

        app.main()
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as shells have it
