"""The server's side of a WebSocket connection, with an end to whatever a client may leave unread.

uvicorn waits before it sends while the transport's buffer is too full, but it writes pongs without asking, and it
closes a connection only after everything was written: a client that never reads would be kept for ever, and would hold
up the end of the process. Here a connection on which nothing moves for `ws_ping_timeout` is cut, so is one that lets
pongs pile up, and after a shutdown a client has `CLOSE_TIMEOUT_SECONDS`.
"""

import logging
import socket
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service.deadline import Deadline

SEND_BUFFER_BYTES = 64 * 1024
MAX_UNREAD_BYTES = 1024 * 1024
CLOSE_TIMEOUT_SECONDS = 1.0
STUCK_SECONDS = 20.0
INVALID_PAYLOAD = 1007


class Connection(WebSocketsSansIOProtocol):
    """uvicorn's protocol, given to it as `ws`."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as uvicorn's
        super().__init__(*args, **options)
        # They write lines for each session, with the query, in which a client may have put a secret.
        self.logger = self.conn.logger = logging.getLogger("uvicorn.error.websocket")
        self.logger.setLevel(logging.WARNING)
        self._cut = Deadline(self.loop)

    def connection_made(self, transport: BaseTransport) -> None:
        """Keep little in the buffers: what waits there is old, and a newer frame would be better."""
        super().connection_made(transport)
        self._cut.start(self.config.ws_ping_timeout or STUCK_SECONDS, self._cut_unless_open)
        self.transport.set_write_buffer_limits(high=0)
        connected: socket.socket | None = transport.get_extra_info("socket")
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone."""
        self._cut.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Something is left unread: from now on the client's time runs."""
        super().pause_writing()
        self._cut.start(self.config.ws_ping_timeout or STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client has read everything."""
        super().resume_writing()
        self._cut.cancel()

    def data_received(self, data: bytes) -> None:
        """Take data in, unless the client did not wait for its handshake, or does not read what it is sent for it."""
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.abort()
            return
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.transport.abort()

    def send_receive_event_to_app(self) -> None:
        """Hand a message on; a text that is no UTF-8 ends the session (RFC 6455, 8.1), and is no error of ours."""
        if self.curr_msg_data_type == "text" and not self.close_sent and not _is_text(b"".join(self.frames)):
            self.frames = []
            self.conn.send_close(INVALID_PAYLOAD)
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:  # noqa: ANN401 - as uvicorn's
        """Send; a handshake that was refused with an answer is complete, which uvicorn forgets and calls an error.

        It also forgets the server's headers in that answer.
        """
        if message["type"] == "websocket.http.response.start":
            message = {**message, "headers": [*self.default_headers, *message.get("headers", ())]}
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def shutdown(self) -> None:
        """Say 1012, and wait no longer than a moment for the client to read it; a failure is this client's alone."""
        try:
            super().shutdown()
        except Exception:
            self.logger.exception("a WebSocket could not be closed in order")
            self.transport.abort()
        else:
            self._cut.start(CLOSE_TIMEOUT_SECONDS, self.transport.abort)

    def _cut_unless_open(self) -> None:
        """End a handshake that was not answered in time."""
        if not self.handshake_complete:
            self.transport.abort()


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
