"""The ``nemesyst`` command: a door in front of :mod:`nemesyst.cli` that is there before anything is imported.

Importing takes a few tenths of a second, and Ctrl-C in them should end the command as quietly as later on. The signals
are this process's own business, so they are set here and nowhere else.
"""

import os
import signal
from typing import NoReturn


def main() -> None:
    """Import the command line, then run it."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from nemesyst.cli import Terminated
    from nemesyst.cli import main as run

    def terminate(*_: object) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # all is done: nothing is left to interrupt
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
