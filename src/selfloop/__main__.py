"""`python -m selfloop`: the same as the command `selfloop`."""

import os
import sys

# `python -m` puts the working folder there, and its modules must not stand in for others.
sys.path[:] = [path for path in sys.path if path and path != os.getcwd()]

from selfloop.cli import main  # noqa: E402

main()
