"""`python -m spool.cli`."""

from spool.cli import main

main()
