"""`python -m selfloop`: the same as the command `selfloop`."""

from selfloop.cli import main

main()
