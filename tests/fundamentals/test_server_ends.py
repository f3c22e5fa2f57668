"""A server that ends by itself takes its process with it: a worker without its routes would be missed by nobody."""

import asyncio
import socket

import pytest
import uvicorn
from fastapi import FastAPI

from service.processes.server import serving
from service.settings import Settings
from telemetry.testing import capture


async def test_a_server_that_breaks_stops_who_it_is_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(_: uvicorn.Server) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(uvicorn.Server, "main_loop", breaks)
    stop = asyncio.Event()
    with capture() as seen, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(ZeroDivisionError):
            async with serving(FastAPI(), Settings(), seen.telemetry, listener, stop), asyncio.timeout(10):
                await stop.wait()
