# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The addresses of the server, and what each answers."""
from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp

from .guard import Guard, content_policy, refused
from .session import Question, Session, sentence
from .uploads import Limits, RefusedError, check_picture, read_upload
from .worker import FullError, Job, StoppedError, Worker

#: Seconds between two lines about a job: those who wait see that it goes on,
#: and the server sees that they still wait.
BEAT = 0.5
#: What is wrong with a photograph or a question, and not with the program.
EXPECTED = (RefusedError, StoppedError, OSError, ValueError, TypeError,
            ArithmeticError, RuntimeError, MemoryError)
REASONS = {404: 'there is nothing at this address',
           405: 'this cannot be done with this address'}


class Service:
    """Answers the requests of the page.

    Args:
        session (Session): What is asked.
        worker (Worker): Explains, one photograph after the other.
        limits (Limits): How much is taken.
    """

    def __init__(self, session: Session, worker: Worker,
                 limits: Limits) -> None:
        self.session = session
        self.worker = worker
        self.limits = limits

    def html(self) -> str:
        """Return the page, with all photographs that are kept."""
        session = self.session
        return session.report().html(
            'live',
            # whether any photograph will have both sides
            dict(evidence=any(method.evidence == 'both'
                              for method in session.methods.values())),
            methods={name: method.target_layer is not None
                     for name, method in session.methods.items()},
            layers=session.layers(),
            score_thr=session.selection.score_thr,
            max_upload=self.limits.upload)

    async def page(self, request: Request) -> Response:
        """Answer with the page."""
        return HTMLResponse(self.html())

    async def add(self, request: Request) -> Response:
        """Explain a photograph, the request's body."""
        question = self.question(request)
        self.session.check_room()
        self.worker.check_room()
        content = await read_upload(
            request.stream(), request.headers.get('content-length'),
            self.limits)
        await asyncio.to_thread(check_picture, content, self.limits)
        name = request.query_params.get('name', '')
        return self.answer(
            partial(self.session.explain, name, content, question))

    async def again(self, request: Request) -> Response:
        """Explain a photograph that is kept once more."""
        question = self.question(request)
        number = request.path_params['number']
        self.session.photo_at(number)
        return self.answer(
            partial(self.session.explain_again, number, question))

    async def clear(self, request: Request) -> Response:
        """Forget all photographs."""
        self.worker.stop()
        self.session.clear()
        return JSONResponse({})

    def question(self, request: Request) -> Question:
        """Read what is asked from a request's address."""
        given = request.query_params
        try:
            score_thr = float(given.get('score_thr', ''))
        except ValueError:
            score_thr = -1
        if not 0 <= score_thr <= 1:  # nor is NaN
            raise RefusedError(400, 'the score must be a number from 0 to 1')
        question = Question(given.get('method', ''),
                            given.get('layer', '').strip(), score_thr)
        self.session.check_question(question)
        return question

    def answer(self, work: Callable[[Callable[[], None]], Any]) -> Response:
        """Answer with lines of JSON: first about the work that is done, and
        at last its result, or why there is none."""
        job = self.worker.submit(work)
        return StreamingResponse(self.lines(job),
                                 media_type='application/x-ndjson')

    async def lines(self, job: Job) -> AsyncIterator[str]:
        """Tell of a job until it is done. If nobody listens any more, it is
        stopped."""
        future = asyncio.wrap_future(job.future)
        # asyncio would print an error that nobody waits for any more
        future.add_done_callback(lambda it: it.cancelled() or it.exception())
        try:
            while not (future.done() or job.stopped):
                yield json.dumps(self.state(job)) + '\n'
                await asyncio.wait([future], timeout=BEAT)
            yield json.dumps(outcome(job)) + '\n'
        finally:
            job.stop()

    def state(self, job: Job) -> dict[str, Any]:
        """Return how many are before a job; 0 for the one that runs, with how
        much of it is done, if that is known."""
        line = list(self.worker.line)
        before = line.index(job) if job in line else 0
        return dict(before=before, share=job.share)


def outcome(job: Job) -> dict[str, Any]:
    """Return the result of a job that is done or was stopped, or why there is
    none."""
    if job.stopped or job.future.cancelled():
        return dict(error='it was stopped')
    try:
        result: dict[str, Any] = job.future.result()
    except EXPECTED as error:
        return dict(error=sentence(error))
    except Exception as error:
        traceback.print_exception(error)  # for whoever runs the server
        return dict(error='the server failed; its terminal says where')
    return result


async def refuse(request: Request, error: Exception) -> Response:
    """Answer a request that cannot be done with the reason."""
    if isinstance(error, HTTPException):
        status, reason = error.status_code, REASONS.get(
            error.status_code, error.detail)
    elif isinstance(error, RefusedError):
        status, reason = error.status, str(error)
    elif isinstance(error, FullError):
        status, reason = 503, str(error)
    elif isinstance(error, ClientDisconnect):  # nobody reads the answer
        status, reason = 400, 'the file broke off'
    else:
        status, reason = 500, 'the server failed; its terminal says where'
    return refused(status, reason)


def make_app(service: Service, token: str, host: str) -> ASGIApp:
    """Return the app that a server runs.

    Args:
        service (Service): What answers.
        token (str): What every address begins with.
        host (str): The name by which the server is reached.
    """
    photos = f'/{token}/photographs'
    app = Starlette(
        routes=[
            Route(f'/{token}/', service.page),
            Route(photos, service.add, methods=['POST']),
            Route(photos, service.clear, methods=['DELETE']),
            Route(photos + '/{number:int}', service.again, methods=['POST']),
        ],
        exception_handlers=dict.fromkeys(
            (HTTPException, RefusedError, FullError, ClientDisconnect,
             Exception), refuse))
    return Guard(app, token, host, content_policy(service.html()))
