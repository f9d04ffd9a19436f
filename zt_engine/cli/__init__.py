"""The command `zt`. Only the modules of this package print."""

from __future__ import annotations

import sys

from zt_engine.cli.main import app
from zt_engine.cli.output import print_error
from zt_engine.core.errors import ZtError


def main() -> None:
    """Run the command; an error of ours is a few lines on standard error and exit code 2, never a traceback."""
    try:
        app()
    except ZtError as error:
        print_error(error)
        sys.exit(2)
