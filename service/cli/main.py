"""`flash-sale`: its commands, and how every error ends: with one line on stderr and a status.

Status 0: done; 1: the answer is bad (an audit that found something); 2: the command line or a setting is wrong; 130:
ended by Ctrl-C; 141: whoever read the output has gone, as `| head` does, which is told by the status alone.
What takes time to import is imported by the command that needs it.
"""

import errno
import os
import signal
import sys
from importlib.metadata import version as distribution_version
from typing import Annotated

import typer
from typer.exceptions import TyperException

from service.cancellation import mend_wait_for
from service.cli import crowd as shoppers
from service.cli import ledger as books
from service.cli import orders, processes
from service.cli import plan as capacity
from service.cli.errors import OperatorError
from service.cli.streams import complain, lead_nowhere, open_missing
from service.processes.forked_child import Forked
from telemetry import SettingsError as TelemetrySettingsError
from telemetry import prepare_environment

_TOO_LITTLE = ("can't start new thread", "failed to map segment", "cannot allocate memory")
_NOT_WRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    name="flash-sale",
    no_args_is_help=True,
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
orders.add_to(app)
capacity.add_to(app)


def main() -> None:
    """Run the program."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return the exit status; a child of a fleet comes out of it to run its own."""
    try:
        return _run(arguments)
    except Forked as child:
        own = child.arguments
    return _run(own)


def _run(arguments: list[str]) -> int:
    mend_wait_for()
    open_missing()
    try:
        if not {"-h", "--help"} & set(arguments):
            prepare_environment(os.environ)  # before OpenTelemetry is imported, which reads some of it then
        status = app(arguments, prog_name="flash-sale", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        ended = _told(error)
        if ended is None:
            raise
        return ended
    return status if isinstance(status, int) else 0


def _told(error: BaseException) -> int | None:
    """Tell the operator how a command ended, in one line; return its status, None for a defect."""
    match error:
        case TyperException():
            message = error.format_message() if hasattr(error, "format_message") else str(error)
            return complain(f"{message.rstrip('.')} (see `{_command_of(error)} --help`)", 2) if message else 2
        case typer.Exit():
            return error.exit_code
        case typer.Abort() | KeyboardInterrupt():
            return complain("interrupted", 130)
        case OSError() if error.errno in _NOT_WRITTEN:
            return _unwritten(error)
        case SystemExit():
            return _exited(error)
        case _:
            return _answered(error)


def _is_too_little(error: BaseException) -> bool:
    said = str(error).lower() if isinstance(error, ImportError | RuntimeError) else ""
    return isinstance(error, MemoryError) or any(words in said for words in _TOO_LITTLE)


def _unwritten(error: OSError) -> int:
    lead_nowhere()
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    return complain("the output was full before all was written", 1)


def _command_of(error: TyperException) -> str:
    """Return the command whose help tells more, as it is typed."""
    context = getattr(error, "ctx", None)
    names = context.command_path.split()[1:] if context else []
    return " ".join(["flash-sale", *names])


def _exited(error: SystemExit) -> int:
    """Click makes a `SystemExit` of a closed pipe, and uvicorn of a start that failed, having said why."""
    if isinstance(error.__context__, OSError) and error.__context__.errno in _NOT_WRITTEN:
        return _told(error.__context__) or 1
    return error.code if isinstance(error.code, int) else 1


def _answered(error: BaseException) -> int | None:
    if _is_too_little(error):
        return complain("there is not enough memory for this process, or no thread (ulimit -v, -d and -u)", 1)
    # The first alone must not import OpenTelemetry: it may say that it cannot be imported.
    if isinstance(error, TelemetrySettingsError) or (isinstance(error, Exception) and _is_answer(error)):
        return complain(str(error), 2 if isinstance(error, ValueError) else 1)
    return None


def _is_answer(error: Exception) -> bool:
    """Whether an exception is a plain answer to the operator; anything else is a defect and keeps its traceback."""
    from service.ledger.audit import SaleMovesError
    from service.processes.supervisor import ChildFailed
    from service.settings import SettingsError
    from service.store import STORE_ERRORS, SchemaMismatchError
    from service.store.preflight import StoreRefused
    from service.store.server_process import StoreFailed, StoreInUse

    refusals = (SettingsError, SchemaMismatchError, StoreRefused, StoreInUse)
    return isinstance(error, (*refusals, StoreFailed, ChildFailed, SaleMovesError, OperatorError, *STORE_ERRORS))
