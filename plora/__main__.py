"""`python -m plora`: the command line."""

from plora.cli import main

main()
