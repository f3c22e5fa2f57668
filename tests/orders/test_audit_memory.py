"""What an audit of a large sale weighs: it runs beside the worker, in what its container leaves."""

import asyncio
import os
import sys

from redis.asyncio import Redis

from tests.orders.sale import Sale
from tests.support import RedisServer
from tests.support.processes import run

ORDERS = 17_000
MIB = 1 << 20
BYTES_EACH = 2000
"""1500 on CPython 3.11 with Valkey 9, of orders that wait; 3700 when each was an `Order` and came value by value."""
PEAK = """
import atexit, re, sys
from service.cli.main import main
atexit.register(lambda: print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr))
sys.argv = ["flash-sale", "audit"]
main()
"""
"""The most memory of this program alone: `ru_maxrss` knows that of whoever started it, too."""


def peak(url: str) -> int:
    """Run an audit, which must find nothing, and return the most memory that it had, in bytes."""
    done = run([sys.executable, "-c", PEAK], env={**os.environ, "REDIS_URL": url})
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "clean"), done
    return int(done.stderr) * 1024


async def test_an_audit_of_a_large_sale_fits_beside_a_worker(valkey: Redis, valkey_server: RedisServer) -> None:
    """Of orders that wait, each of another buyer: nothing about them can be summed up."""
    sale = await Sale.open(valkey)
    await sale.product(stock=ORDERS)
    empty = await asyncio.to_thread(peak, valkey_server.url)
    for first in range(0, ORDERS, 500):
        await sale.place(*[sale.request(user_id=f"shopper-{number}") for number in range(first, first + 500)])
    grown = await asyncio.to_thread(peak, valkey_server.url) - empty
    assert grown < ORDERS * BYTES_EACH, f"{empty / MIB:.0f} MiB, and {grown / ORDERS:.0f} bytes an order"
