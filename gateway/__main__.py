"""`python -m gateway` is `p2pmail`."""

from gateway.cli import main

main()
