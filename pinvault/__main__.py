"""`python -m pinvault`: the command line."""

from pinvault.cli import main

main()
