"""`flash-sale`: its commands, and how every error ends: with one line on stderr and a status.

Status 0: done; 1: the answer is bad (an audit that found something); 2: the command line or a setting is wrong; 130:
ended by Ctrl-C. What takes time to import is imported by the command that needs it.
"""

import os
import sys
from importlib.metadata import version as distribution_version
from typing import Annotated

import typer
from typer.exceptions import TyperException

from service.background import mend_wait_for
from service.cli import crowd as shoppers
from service.cli import ledger as books
from service.cli import processes
from service.cli.errors import OperatorError

app = typer.Typer(
    name="flash-sale",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings come from the environment: PORT, WORKERS, REDIS_URL, OTEL_*, ... The README lists them.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flash-sale {distribution_version('flash-sale')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Run a flash-sale order service that never oversells, and whose telemetry says exactly what happened."""


processes.add_to(app)
shoppers.add_to(app)
books.add_to(app)


def main() -> None:
    """Run the program."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return the exit status."""
    mend_wait_for()
    try:
        status = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        return complain(f"{message.rstrip('.')} (see `flash-sale --help`)", 2) if message else 2
    except typer.Exit as error:
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return complain("interrupted", 130)
    except (BrokenPipeError, SystemExit):  # click makes a `SystemExit` of a broken pipe, and of nothing else here
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return complain("the output was closed before all was written", 1)
    except Exception as error:
        if not _is_answer(error):
            raise
        return complain(str(error), 2 if isinstance(error, ValueError) else 1)
    return status if isinstance(status, int) else 0


def complain(message: str, status: int) -> int:
    """Write one line to stderr."""
    sys.stderr.write(f"flash-sale: {' '.join(message.split())}\n")
    return status


def _is_answer(error: Exception) -> bool:
    """Whether an exception is a plain answer to the operator; anything else is a defect and keeps its traceback."""
    from service.ledger.audit import SaleMovesError
    from service.processes.supervisor import ChildFailed
    from service.settings import SettingsError
    from service.store import STORE_ERRORS, SchemaMismatchError
    from service.store.embedded import StoreFailed, StoreInUse
    from service.store.preflight import StoreRefused
    from telemetry import SettingsError as TelemetrySettingsError

    refusals = (SettingsError, TelemetrySettingsError, SchemaMismatchError, StoreRefused, StoreInUse)
    return isinstance(error, (*refusals, StoreFailed, ChildFailed, SaleMovesError, OperatorError, *STORE_ERRORS))
