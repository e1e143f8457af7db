# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Who may ask the server for anything at all."""
from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    'Cache-Control': 'no-store',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',  # the address is a secret
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
}


class Guard:
    """Lets requests through to an app that come from its own page.

    Every address begins with a secret, so neither a page of another site nor
    another user of the machine can ask for anything. That the address of
    this machine is not reached by a foreign name, and nothing is changed from
    a foreign page, is checked beside that.

    Args:
        app (ASGIApp): What answers.
        token (str): The secret.
        host (str): The name by which the server is reached, beside
            ``localhost`` and addresses made of numbers.
        policy (str): The content security policy of all answers.
    """

    def __init__(self, app: ASGIApp, token: str, host: str,
                 policy: str) -> None:
        self.app = app
        self.token = token.encode()
        self.names = {'localhost', host.lower(), socket.gethostname().lower()}
        self.headers = HEADERS | {'Content-Security-Policy': policy}

    async def __call__(self, scope: Scope, receive: Receive,
                       send: Send) -> None:
        """Answer a request, or refuse it."""
        assert scope['type'] == 'http', scope['type']

        async def send_guarded(message: Message) -> None:
            if message['type'] == 'http.response.start':
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        reason = self.refusal(scope['path'], Headers(scope=scope))
        app = self.app if reason is None else refused(403, reason)
        await app(scope, receive, send_guarded)

    def refusal(self, path: str, headers: Headers) -> str | None:
        """Say why a request is refused; None if it is not."""
        host = headers.get('host', '')
        if not self.is_own(host):
            return 'the server is not known by this name'
        token = path.split('/')[1] if path.startswith('/') else ''
        if not hmac.compare_digest(token.encode(), self.token):
            return 'open the address that the command printed, all of it'
        origin = headers.get('origin')
        if origin is not None and urlsplit(origin).netloc != host:
            return 'the request comes from a page of another site'
        return None

    def is_own(self, host: str) -> bool:
        """Whether a Host header can be trusted. Any name can be made to lead
        to this machine, but an address made of numbers is what it is."""
        try:
            name = urlsplit(f'//{host}').hostname or ''
            if name in self.names:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def refused(status: int, reason: str) -> JSONResponse:
    """Answer a request with the reason why it is not done; what is left of it
    is not read.

    Args:
        status (int): Of HTTP.
        reason (str): One sentence.
    """
    return JSONResponse(dict(error=reason), status, {'Connection': 'close'})


def content_policy(page: str) -> str:
    """Return the content security policy of a page: it runs its own script,
    asks its own server, and nothing else.

    Args:
        page (str): The page as it is before anything came from outside.
    """
    sources = {
        name: ' '.join(
            f"'sha256-{base64.b64encode(digest).decode()}'"
            for digest in (
                hashlib.sha256(text.encode()).digest()
                for text in re.findall(f'<{name}>(.*?)</{name}>', page,
                                       re.DOTALL)))
        for name in ('script', 'style')
    }
    return (f"default-src 'none'; script-src {sources['script']}; "
            f"style-src {sources['style']}; img-src data: blob:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'")
