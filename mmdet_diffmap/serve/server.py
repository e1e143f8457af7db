# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A server on this machine."""
from __future__ import annotations

import ipaddress
import socket

import uvicorn
from starlette.types import ASGIApp

from .uploads import Limits
from .worker import Worker


class Server(uvicorn.Server):
    """Runs an app until it is told to end; what it works at is given up then.

    Args:
        app (ASGIApp): The app.
        worker (Worker): Does its work.
        limits (Limits): How many connections may be open.
    """

    def __init__(self, app: ASGIApp, worker: Worker, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,  # addresses are secrets
                h11_max_incomplete_event_size=16_384,
                http='h11',
                lifespan='off',
                limit_concurrency=limits.connections,
                log_config=None,  # its own would close all log files
                log_level='error',
                loop='asyncio',
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=5,
                timeout_keep_alive=5,
                ws='none'))
        self.worker = worker

    async def shutdown(self,
                       sockets: list[socket.socket] | None = None) -> None:
        """End; answers that are waited for say so."""
        self.worker.stop()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that waits for connections.

    Args:
        host (str): A name or address of this machine.
        port (int): 0 for any that is free.

    Raises:
        OSError: If there is no such address, or the port is taken.
    """
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        reason = str(error.strerror).partition(' (')[0]  # the host again
        raise OSError(f'port {port} of {host} cannot be used: {reason}; give '
                      'another --port or --host') from error


def address_of(listening: socket.socket, host: str, token: str) -> str:
    """Return the address that people open in a browser."""
    port = listening.getsockname()[1]
    if host in ('0.0.0.0', '::'):  # all of this machine's
        host = socket.gethostname()
    name = f'[{host}]' if ':' in host else host
    return f'http://{name}:{port}/{token}/'


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'
