"""The command line: the only place that reads the environment. `service.cli.main` is the program `flash-sale`."""

from service.cli.main import main

__all__ = ["main"]
