"""Sockets between stages: encrypted, and open only to who has the pipeline's key."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from ._imports import zmq
from .wire import MOST_BYTES


@dataclass(frozen=True)
class Key:
    """The pair of CURVE keys that all ends of a pipeline share."""

    public: bytes
    secret: bytes

    @classmethod
    def fresh(cls) -> Key:
        """A new one."""
        return cls(*zmq.curve_keypair())

    def __repr__(self) -> str:
        return "<Key>"

    def callback(self, _domain: str, public: bytes) -> bool:
        """Whether somebody who has proved to own `public` may connect."""
        return public == self.public


class Links:
    """The sockets of one process."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.context = zmq.Context(io_threads=1)
        # Who may connect is asked in a thread; without it any key would do.
        self._door = importlib.import_module("zmq.auth.thread").ThreadAuthenticator(self.context)
        self._door.start()
        self._door.configure_curve_callback(domain="*", credentials_provider=self.key)

    def inbox(self, bind: str) -> tuple[Any, str]:
        """A socket that others send to, and its address. `bind`: the address of the network to listen on."""
        socket = self._socket(zmq.PULL)
        socket.curve_server = True
        socket.maxmsgsize = MOST_BYTES
        host = f"[{bind}]" if ":" in bind else bind
        port = socket.bind_to_random_port(f"tcp://{host}")
        return socket, f"tcp://{host}:{port}"

    def outbox(self, address: str) -> Any:
        """A socket to the inbox at `address`."""
        socket = self._socket(zmq.PUSH)
        socket.curve_serverkey = self.key.public
        socket.connect(address)
        return socket

    def _socket(self, kind: int) -> Any:
        socket = self.context.socket(kind)
        socket.linger = 0
        # Credit limits what is on the way; a limit of the socket would only block the sender.
        socket.set_hwm(0)
        socket.ipv6 = True
        socket.curve_publickey, socket.curve_secretkey = self.key.public, self.key.secret
        return socket

    def close(self) -> None:
        """Closes all of them, also what was not sent yet."""
        self._door.stop()
        self.context.destroy(linger=0)
