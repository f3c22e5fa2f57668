"""How commands behave beside their work: a reader that goes, a store that is not there, a narrow terminal, Ctrl-C."""

import asyncio
import json
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest

from service.processes.startup import StoreUnreachableError, open_shards
from service.settings import Settings
from tests.support import RedisServer
from tests.support.cli import complaint, flash_sale
from tests.support.processes import run
from tests.support.program import SCRIPT, Program
from tests.support.service import Fleet

READERS = [["audit"], ["dead-letters", "list"], ["dead-letters", "requeue", "--all"]]
CLOSED = 128 + signal.SIGPIPE


@pytest.fixture
def used(valkey_server: RedisServer) -> str:
    """Return the URL of a store that a service has used."""

    async def use() -> None:
        async with open_shards(Settings(), valkey_server.url, name="test"):
            pass

    asyncio.run(use())
    return valkey_server.url


@pytest.mark.parametrize(
    "command", [["audit"], ["audit", "--json"], ["dead-letters", "list"], ["--help"], ["--show-completion"]]
)
def test_a_reader_that_has_gone_ends_a_command_quietly(used: str, command: list[str]) -> None:
    """As `| head` has it, at its earliest: the status alone says so."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = run([SCRIPT, *command], stdout=write, env={**os.environ, "REDIS_URL": used})
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (CLOSED, "")


def test_a_full_disk_is_told(used: str) -> None:
    """It is no reader that had enough: what it was given is not whole."""
    with Path("/dev/full").open("w") as full:
        done = run([SCRIPT, "audit"], stdout=full, env={**os.environ, "REDIS_URL": used})
    assert (done.returncode, done.stderr) == (1, "flash-sale: the output was full before all was written\n")


@pytest.mark.parametrize("limit", ["-d 20000", "-v 60000"])
def test_too_little_memory_is_told_in_one_line(tmp_path: Path, limit: str) -> None:
    """Whatever notices it first: Python, or the loader of a library."""
    env = {**os.environ, "DATA_DIR": str(tmp_path)}
    done = run(["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", SCRIPT, "run"], env=env)
    assert (done.returncode, done.stderr) == (
        1,
        "flash-sale: there is not enough memory for this process, or no thread (ulimit -v, -d and -u)\n",
    )


@pytest.mark.parametrize(
    ("limit", "command", "said"),
    [
        ("-t 30", "run", "ulimit -t: a process would be killed after 30 s of CPU time"),
        ("-t 2", "worker", "ulimit -t: a process would be killed after 2 s of CPU time"),
        ("-n 16", "api", "ulimit -n: 16 open files are too few for a process"),
        ("-n 100", "run", "ulimit -n: 100 open files are too few for a process"),
        ("-f 8", "run", "DATA_DIR: {}/data: File too large (ulimit -f: "),
        ("-f 129", "run", "DATA_DIR: {}/data: its log is as large as a file may be (ulimit -f: "),
    ],
)
def test_a_limit_that_no_service_can_live_with_is_told_by_its_name(
    tmp_path: Path, limit: str, command: str, said: str
) -> None:
    """In one line, before anything is started."""
    env = {**os.environ, "DATA_DIR": str(tmp_path / "data"), "REDIS_URL": "", "PORT": "0", "CROWD": "0"}
    if limit == "-f 129":
        log = tmp_path / "data/appendonlydir/appendonly.aof.1.incr.aof"
        log.parent.mkdir(parents=True, mode=0o700)
        log.parent.parent.chmod(0o700)
        log.write_bytes(bytes(1024))
        log.with_name("appendonly.aof.manifest").write_text(f"file {log.name} seq 1 type i\n")
    done = run(["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", SCRIPT, command], env=env)
    assert complaint(done, 1).startswith(said.format(tmp_path))


def test_a_limit_that_will_end_each_process_one_day_is_told() -> None:
    """It starts all the same; here it cannot, for another reason."""
    env = {**os.environ, "HOST": "nowhere.invalid", "PORT": "0", "CROWD": "0"}
    done = run(["sh", "-c", 'ulimit -t 86400; exec "$@"', "sh", SCRIPT, "run"], env=env)
    warned, refused = done.stderr.splitlines()
    assert warned.startswith("flash-sale: ulimit -t: each process will be killed after 86400 s of CPU time")
    assert refused.startswith("flash-sale: HOST: ")


@pytest.mark.parametrize("command", READERS)
def test_a_folder_without_a_store_is_named_and_stays_as_it_is(tmp_path: Path, command: list[str]) -> None:
    """Nothing is clean that was never there."""
    line = complaint(flash_sale(*command, env={"REDIS_URL": "", "DATA_DIR": str(tmp_path / "wrong")}), 1)
    assert line.startswith(f"no service has ever used the store {tmp_path / 'wrong'} (DATA_DIR): ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", READERS)
def test_a_server_that_no_service_has_used_is_named_and_stays_as_it_is(
    valkey_server: RedisServer, command: list[str]
) -> None:
    """The same of another server, or of another database of the right one; its password is not shown."""
    url = valkey_server.url.replace("redis://", "redis://default:hunter2@")
    line = complaint(flash_sale(*command, env={"REDIS_URL": f"{url}/3"}), 1)
    assert line.startswith(f"no service has ever used the store {valkey_server.url}/3 (REDIS_URL): ")
    with valkey_server.sync_client() as client:
        assert client.info("keyspace") == {}


def test_a_truth_against_a_store_that_is_not_the_services(used: str) -> None:
    """Told at once, before an order is sent."""
    with Fleet(used) as fleet:
        command = ["crowd", "--truth", "--orders", "1", "--url", fleet.url]
        line = complaint(flash_sale(*command, env={"REDIS_URL": f"{used}/3"}), 1)
    assert line.startswith(f"no service has ever used the store {used}/3 (REDIS_URL): ")


def test_an_audit_names_the_store_that_it_read(used: str, tmp_path: Path) -> None:
    """Text and JSON."""
    done = flash_sale("audit", env={"REDIS_URL": used})
    assert done.stdout.splitlines()[0] == f"store   {used} (REDIS_URL)"
    assert json.loads(flash_sale("audit", "--json", env={"REDIS_URL": used}).stdout)["store"] == f"{used} (REDIS_URL)"
    with Fleet(tmp_path):
        beside = flash_sale("audit", env={"REDIS_URL": "", "DATA_DIR": str(tmp_path)})
    assert beside.stdout.splitlines()[0] == f"store   {tmp_path} (DATA_DIR)"


@pytest.mark.parametrize("command", [["audit"], ["dead-letters", "list"], ["crowd", "--demo"]])
def test_a_store_that_nobody_runs_is_told_by_the_name_of_its_variable(command: list[str]) -> None:
    line = complaint(flash_sale(*command, env={"REDIS_URL": "redis://127.0.0.1:1"}), 1)
    assert line.startswith("REDIS_URL: the store does not answer: Error 111 connecting to 127.0.0.1:1.")


async def test_a_store_that_hangs_is_told_as_soon() -> None:
    """However long STORE_TIMEOUT_SECONDS lets one answer take."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        begun = monotonic()
        with pytest.raises(StoreUnreachableError, match="REDIS_URL: the store does not answer: no answer yet"):
            async with open_shards(Settings(store_timeout_seconds=30), url, name="test", wait_seconds=0):
                pass
        assert monotonic() - begun < 3
        env = {"REDIS_URL": url, "STORE_TIMEOUT_SECONDS": "30", "PORT": "0", "CROWD": "0"}
        with Program([SCRIPT, "run"], env=env) as program:
            await asyncio.to_thread(program.wait_for_line, "REDIS_URL: waiting for the store", 30)
            assert await asyncio.to_thread(program.signal, signal.SIGTERM) == 0


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_truth_is_no_success(used: str, number: signal.Signals, as_json: bool) -> None:
    """Whatever the rows so far say; they are still told."""
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(used))
        arguments = ["crowd", "--truth", "--url", fleet.url, "--rate", "100", "--duration", "60", "--seed", "3"]
        command = [SCRIPT, *arguments, *(["--json"] if as_json else [])]
        program = stack.enter_context(Program(command, env={"REDIS_URL": used}))
        program.wait_for_line(" accepted, ", 30)
        status = program.signal(number)
        output = program.output
    assert status == 128 + number
    assert f"flash-sale: interrupted by {number.name}; these are the figures so far" in output
    if as_json:
        start, end = output.index("{"), output.rindex("}") + 1
        told = json.loads(output[start:end])
        assert (told["true"], told["interrupted"]) == (False, True)
        assert next(row for row in told["rows"] if row["what"] == "orders accepted")["agrees"]
    else:
        assert "seed 3 (interrupted): all agree" in output


def test_sixty_columns_are_enough(used: str) -> None:
    """For every table and every help."""
    env = {"REDIS_URL": used, "COLUMNS": "60"}
    crowd = ["crowd", "--orders", "30", "--rate", "0"]
    with Fleet(used) as fleet:
        told = [
            flash_sale(*crowd, "--url", fleet.url, "--truth", env=env),
            flash_sale(*crowd, "--url", fleet.url, "--watch", "5", env=env),
            *(flash_sale(*command, env=env) for command in (["audit"], ["dead-letters", "list"])),
        ]
    told += [flash_sale(*command, "--help", env=env) for command in ([], ["crowd"], ["dead-letters", "drop"])]
    for done in told:
        assert done.returncode == 0, done
        assert [line for line in done.stdout.splitlines() if len(line) > 60] == []
    header, accepted = told[0].stdout.splitlines()[:2]
    assert len(header) == len(accepted), "a row is one line"


def test_a_pipe_gets_whole_lines(used: str) -> None:
    """Where neither a terminal nor COLUMNS says how wide it is."""
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"REDIS_URL": used}
    done = run([sys.executable, "-m", "service", "audit"], env=env)
    assert [line for line in done.stdout.splitlines() if line.startswith(" ")] == []


@pytest.mark.parametrize(
    ("typed", "word", "offered"),
    [
        ("flash-sale d", 1, ["dead-letters"]),
        ("flash-sale dead-letters re", 2, ["requeue"]),
        ("flash-sale crowd --tr", 2, ["--truth"]),
        ("flash-sale audit x", 2, []),
    ],
)
def test_a_shell_completes_commands_and_options(typed: str, word: int, offered: list[str]) -> None:
    """As the script of `--show-completion` asks."""
    env = {"_FLASH_SALE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(word)}
    done = run([SCRIPT], env={**os.environ, **env})
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", offered)


def test_a_wrong_option_points_at_the_help_of_its_command() -> None:
    assert complaint(flash_sale("dead-letters", "drop", "--alll")).endswith(
        "(see `flash-sale dead-letters drop --help`)"
    )
    assert complaint(flash_sale("nope")).endswith("(see `flash-sale --help`)")


def test_a_sentinel_that_does_not_answer_is_told_in_plain_words() -> None:
    """The library's own words go on with its objects, over thousands of letters."""
    done = run([SCRIPT, "audit"], env={**os.environ, "REDIS_URL": "redis+sentinel://127.0.0.1:1/mymaster"})
    assert (done.returncode, done.stderr) == (
        1,
        "flash-sale: REDIS_URL: the store does not answer: No master found for 'mymaster'\n",
    )


def test_a_slip_is_told_once_by_who_starts_the_processes(tmp_path: Path) -> None:
    with Fleet(tmp_path, api=2, env={"rate_limit_per_second": "5"}) as fleet:
        told = [line for line in fleet.log.splitlines() if "rate_limit_per_second" in line]
    assert told == ["flash-sale: rate_limit_per_second is not a setting; did you mean RATE_LIMIT_PER_SECOND?"]


def test_a_crowd_names_the_option_that_is_wrong() -> None:
    assert "--url: URL scheme should be 'http' or 'https'" in complaint(flash_sale("crowd", "--url", "ftp://x"))
