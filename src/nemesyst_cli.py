"""The ``nemesyst`` command: a door in front of :mod:`nemesyst.cli` that is there before anything is imported.

Importing takes a few tenths of a second, and Ctrl-C in them should end the command as quietly as later on.
"""

import os
import signal


def main() -> None:
    """Import the command line, then run it."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from nemesyst.cli import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
