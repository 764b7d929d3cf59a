"""`python -m potstill.cli`: the command by another way in."""

from potstill.cli.entry import main

main()
