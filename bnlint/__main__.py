"""`python -m bnlint` and the command `bnlint`: the command line, and Ctrl-C from its first moment to its last."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line and exit; Ctrl-C says one word, and the exit code is 130."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
            signal.signal(signal.SIGINT, _interrupt)
        from bnlint.cli import main as run

        run()
    except KeyboardInterrupt:
        os.write(2, b"interrupted\n")
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what there was to do is done


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would come in the middle of tidying up
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
