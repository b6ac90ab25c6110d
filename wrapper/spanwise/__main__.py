"""`python -m spanwise`."""

from spanwise.cli import main

main()
