"""The server's side of an HTTP connection, with one answer a request and a bound on what a client may take.

What uvicorn 0.54 does instead is said in docs/decisions/http-server.md. Here what is refused is answered in its turn;
a client has so many seconds for a head, for a body, and to read what it was sent; a half-closed client gets its
answers; and when a connection is gone, each of its requests is told.
"""

import asyncio
from typing import Any

import structlog
from uvicorn.protocols.http.flow_control import FlowControl

from service.api.errors import raw_answer
from service.deadline import GRACE_SECONDS, LATE_SECONDS, Deadline
from service.problems import Problem
from service.processes.connections import PROBES, Connections
from service.processes.http_framing import BETWEEN, BODY, HEAD, FramedProtocol

SLICE_BYTES = 16 * 1024
LINGER_SECONDS = 1.0


class HoldingFlow(FlowControl):
    """uvicorn's, which reads on at every answer and every `receive`; not while it is `holding`."""

    holding = False

    def resume_reading(self) -> None:
        """Read on."""
        if not self.holding:
            super().resume_reading()


class HttpProtocol(FramedProtocol):
    """One connection; given to uvicorn as `http`.

    Args:
        connections: All of the process.
        client_seconds: How long a client may take for a head, for a body, and to read.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - as uvicorn's
        connections: Connections,
        client_seconds: float,
        **options: Any,  # noqa: ANN401 - as uvicorn's
    ) -> None:
        super().__init__(*args, **options)
        self._all = connections
        self._client_seconds = client_seconds
        self._probes_only = False
        self._made = 0.0
        self._held = b""  # received, and not looked at while parsed requests wait for the one in front
        self._arrival = Deadline(self.loop)  # of a head or a body
        self._cut = Deadline(self.loop)  # of a client that does not read

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in; the time for the first request runs."""
        super().connection_made(transport)  # type: ignore[arg-type] # as uvicorn's
        self._flow = self.flow = HoldingFlow(self.transport)
        self._arrival.start(self._client_seconds, self._too_slow)
        self._probes_only = not self._all.opened(self, len(self.connections))
        self.leaving = self._all.draining
        self._made = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Take data in, unless what came before was refused."""
        if self.pipeline or self._held:
            self._hold(self._held + data)
        elif self.refusal is None and not self.transport.is_closing():
            self._feed(data)

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn hangs up on whoever has said everything
        """Return whether to stay: a client that sends no more still gets the answers to what it has sent."""
        if self.part is BODY:
            self._drop_unfinished()
        self.drain()
        return not self.idle() and not self.transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request that the client is gone, not only the last."""
        self._all.busy(self)
        for timer in (self._arrival, self._cut):
            timer.cancel()
        self._unset_keepalive_if_required()
        for cycle in self.unanswered():
            cycle.disconnected = True
            cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Something is left unread: from now on the client's time runs."""
        super().pause_writing()
        self._cut.start(self._client_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._cut.cancel()

    # The server's calls

    def drain(self) -> None:
        """Take one more request, or finish those that run; the last answer says that it is the last.

        It is the refusal of what came behind them, where there is one.
        """
        self.leaving = True
        if self.refusal is None:
            for cycle in list(self.unanswered())[-1:]:
                cycle.keep_alive = False

    def shutdown(self) -> None:
        """End the connection when its requests are answered; a failure is this connection's alone."""
        self.drain()
        try:
            if self.idle() and (seconds := self._arrives_within()):
                self._arrival.start(seconds, self._close)
                return
            super().shutdown()
            self._cut_if_unread(LINGER_SECONDS)
        except Exception:  # noqa: BLE001 - whatever it is, the others must be closed
            structlog.get_logger("service.processes.http").exception("a connection could not be closed in order")
            self.transport.abort()

    def _arrives_within(self) -> float:
        """Return how long to wait for a request that is on its way: whoever has just connected is about to send one."""
        if self.part is HEAD:
            return LINGER_SECONDS
        return max(self._made + LINGER_SECONDS - self.loop.time(), 0) if self.cycle is None else 0

    def evict(self) -> None:
        """Make room for somebody else, who counts from now on in its stead."""
        self.connections.discard(self)
        self.transport.abort()

    # The parser's calls

    def takes(self, path: bytes) -> None:
        """Return whether this connection may ask for a path: one too many asks for probes alone."""
        if self._probes_only:
            if path not in PROBES:
                raise Problem("overloaded", "All connections are taken.", headers={"Retry-After": "1"})
            self.leaving = True

    # The application's calls

    def on_response_complete(self) -> None:
        """Start the next request when one is answered, or refuse what came after it, or wait for more."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._cut_if_unread(self._client_seconds)
        elif self._held and not self.pipeline:
            self._feed(self._held)
        elif not self.idle():
            return
        elif self.refusal is not None:
            self._send_refusal(self.refusal)
        elif self.leaving:
            self._close()
        else:
            self._all.waiting(self)

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that was idle for long enough, unless a request may have come while we stood still."""
        timer = self.timeout_keep_alive_task
        if timer is not None and self.loop.time() > timer.when() + LATE_SECONDS:
            self.timeout_keep_alive_task = self.loop.call_later(GRACE_SECONDS, self.timeout_keep_alive_handler)
        else:
            self._close()

    def _feed(self, data: bytes) -> None:
        """Parse, a slice at a time, as long as no request waits for another; what is left is held."""
        self._unset_keepalive_if_required()
        if self._held:
            self._hold(b"")
        request, part = self.scope, self.part
        try:
            while data:
                frames = self.parse(data[:SLICE_BYTES])
                data = data[SLICE_BYTES:]
                if frames is not None:
                    self._hand_over(frames + data)
                    return
                if data and self.pipeline:
                    self._hold(data)
                    break
        except Problem as problem:
            self._refuse(problem)
            return
        if self.part is not part or self.scope is not request:  # what was awaited is there
            self._arrival.cancel()
        if self.part is BETWEEN and self.running is not None:
            if self.idle():  # an empty line, or the rest of a body, after the answer: no request has begun
                self._keep_alive()
            else:
                self._all.busy(self)
        elif not self._arrival.running:
            self._arrival.start(self._client_seconds, self._too_slow)

    def _hold(self, data: bytes) -> None:
        """Keep what was received for later, and read no more until then."""
        self._held = data
        self._flow.holding = bool(data)
        if data:
            self._flow.pause_reading()
        elif not self.pipeline:
            self._flow.resume_reading()

    def _hand_over(self, frames: bytes) -> None:
        """Make a WebSocket of the connection.

        Raises:
            Problem: The client sends frames before it was answered.
        """
        if frames:
            raise Problem("bad_request", "Nothing may follow a handshake before it is answered.")
        self._arrival.cancel()
        self._all.busy(self)
        try:
            self.handle_websocket_upgrade()
        except Exception:  # noqa: BLE001 - whatever it is, the server goes on
            structlog.get_logger("service.processes.http").exception("a handshake failed")
            self.transport.abort()

    def _too_slow(self) -> None:
        """End the client's time, unless it is we who do not read."""
        if self.flow.read_paused:
            self._arrival.start(self._client_seconds, self._too_slow)
        elif self.part is BETWEEN:  # not a byte of a request
            self._all.count_refusal("request_timeout")
            self._close()
        else:
            self._refuse(Problem("request_timeout", f"The request was not whole after {self._client_seconds:g} s."))

    def _refuse(self, problem: Problem) -> None:
        """Answer what came last with a problem, after all that came before, and take no more."""
        self.refusal, self.leaving = problem, True
        self._hold(b"")
        self._arrival.cancel()
        self._all.count_refusal(problem.code)
        if self.part is BODY:
            self._drop_unfinished()
        if not self.idle():
            self._all.busy(self)
        elif not self.transport.is_closing():
            self._send_refusal(problem)

    def _drop_unfinished(self) -> None:
        """Give up the request whose body is not whole and will not be; from now on there is none."""
        self.part = BETWEEN
        self._arrival.cancel()
        cycle = self.cycle
        if cycle is not self.running:
            self.pipeline.popleft()  # the newest
        elif cycle.response_started:
            self._close()  # it has its answer, or a piece of it
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self.running = None

    def _send_refusal(self, problem: Problem) -> None:
        """Write the answer, and read on for a moment: who closes with bytes unread takes the answer back."""
        self.transport.write(raw_answer(problem, self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._all.waiting(self)
        self._cut.start(LINGER_SECONDS, self.transport.abort)

    def _keep_alive(self) -> None:
        """Give the client its time between two requests anew."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _close(self) -> None:
        """Close when the client has read what it was sent, for which it has its time."""
        if not self.transport.is_closing():
            self.transport.close()
        self._cut_if_unread(self._client_seconds)

    def _cut_if_unread(self, seconds: float) -> None:
        """End a connection that is closing and whose client has not read everything by now."""
        if self.transport.get_write_buffer_size():
            self._cut.start(seconds, self.transport.abort)
