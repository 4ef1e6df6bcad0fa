"""A loopback proxy between a client and a server that can be told to misbehave.

It forwards bytes and so carries HTTP as well as PostgreSQL's protocol. What it does can be changed at any
time, also for connections that are open.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Behaviour = Literal["pass", "refuse", "unavailable", "lose_answers", "lose_requests"]
"""'pass': forwards. 'refuse': closes every connection, as a dead server's machine does. 'unavailable': HTTP
503 to every request, which does not reach the server. 'lose_answers': the request reaches the server, its
answer never comes back. 'lose_requests': nothing arrives at all, and nobody says so."""

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class FaultyProxy:
    """Listens on a port of loopback; `behave` says what becomes of the bytes."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        """Accepted so far."""
        self.requests = 0
        """Pieces that clients sent: of small HTTP requests, their number."""
        self._behaviour: Behaviour = "pass"
        self._latency = 0.0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def behave(self, behaviour: Behaviour, *, latency: float = 0.0) -> None:
        """From now on.

        Args:
            behaviour: see `Behaviour`; 'refuse' also cuts what is open.
            latency: seconds by which everything that clients send is late.
        """
        self._behaviour, self._latency = behaviour, latency
        if behaviour == "refuse":
            self.cut()

    def cut(self) -> None:
        """Closes every open connection on both sides."""
        with self._lock:
            for one in self._open:
                _hang_up(one)
            self._open.clear()

    def close(self) -> None:
        """Listens no more."""
        _hang_up(self._listener)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self._behaviour == "refuse":
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream, timeout=10)
        except OSError:
            if self._behaviour == "unavailable":
                _answer_unavailable(client, client.recv(65536))
            _hang_up(client)
            return
        server.settimeout(None)
        with self._lock:
            self._open |= {client, server}
        back = threading.Thread(target=self._to_client, args=(server, client), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(65536):
                self.requests += 1
                if self._latency:
                    time.sleep(self._latency)
                if self._behaviour == "unavailable":
                    _answer_unavailable(client, data)
                    break
                if self._behaviour != "lose_requests":
                    server.sendall(data)
        _hang_up(client)
        _hang_up(server)
        with self._lock:
            self._open -= {client, server}

    def _to_client(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self._behaviour != "lose_answers":
                    client.sendall(data)
        if self._behaviour != "lose_answers":  # the end of a connection would be an answer too
            _hang_up(client)


@contextmanager
def faulty_proxy(port: int, host: str = "127.0.0.1") -> Iterator[FaultyProxy]:
    """A proxy before a server's port, closed on leaving."""
    proxy = FaultyProxy(host, port)
    try:
        yield proxy
    finally:
        proxy.close()


def _answer_unavailable(client: socket.socket, begun: bytes) -> None:
    """503, after the whole request was read: closing a socket with unread bytes would destroy the answer."""
    head, _, body = begun.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    missing = (int(length[1]) if length else 0) - len(body)
    while missing > 0 and (data := client.recv(65536)):
        missing -= len(data)
    client.sendall(UNAVAILABLE)


def _hang_up(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
    one.close()
