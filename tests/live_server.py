"""The page's server, in a thread."""
import json
import threading
import time
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from urllib.parse import urlencode

import pytest
from demo import demo_detector

pytest.importorskip('starlette', reason='the extra serve is not installed')
pytest.importorskip('uvicorn', reason='the extra serve is not installed')

from mmdet_diffmap.explainers import build_explainers
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.serve import server
from mmdet_diffmap.serve.app import Service, make_app
from mmdet_diffmap.serve.session import Session
from mmdet_diffmap.serve.worker import Worker

TOKEN = 'secret-of-the-tests'
METHODS = {'odam': 'odam', 'grad-cam': 'grad-cam',
           # never done within a test
           'd-rise': dict(type='DRISE', masks=10**6)}
QUESTION = dict(method='odam', layer='', score_thr='0.3', name='a.png')


class Live:
    """A server that runs, and what can be asked of it."""

    def __init__(self, session, worker, limits):
        self.session = session
        self.worker = worker
        self.listening = server.listen('127.0.0.1', 0)
        self.port = self.listening.getsockname()[1]
        self.address = server.address_of(self.listening, '127.0.0.1', TOKEN)
        self.server = server.Server(
            make_app(Service(session, worker, limits), TOKEN, '127.0.0.1'),
            worker, limits)

    def open(self, method, path='', body=None, headers=None, token=TOKEN,
             timeout=60):
        """Send a request, and return the connection and its response."""
        connection = HTTPConnection('127.0.0.1', self.port, timeout=timeout)
        connection.request(method, f'/{token}/{path}' if token else path,
                           body, headers or {})
        return connection, connection.getresponse()

    def ask(self, *args, **kwargs):
        """Return a response's status, headers and text."""
        connection, response = self.open(*args, **kwargs)
        with closing(connection):
            return response.status, response.headers, response.read().decode()

    def refusal(self, *args, **kwargs):
        """Return the status of a response that is an error, and its
        sentence."""
        status, _, text = self.ask(*args, **kwargs)
        (key, reason), = json.loads(text).items()
        assert key == 'error' and '\n' not in reason
        assert 'Traceback' not in reason
        return status, reason

    def explain(self, content, number=None, headers=None, **question):
        """Have a photograph explained; return all lines of the answer."""
        path = 'photographs' if number is None else f'photographs/{number}'
        status, _, text = self.ask(
            'POST', f'{path}?{urlencode(dict(QUESTION, **question))}',
            content, headers)
        assert status == 200, text
        return list(map(json.loads, text.splitlines()))

    def wait_until_idle(self, seconds=30):
        """Wait until nothing is explained or waits."""
        end = time.monotonic() + seconds
        while self.worker.line:
            assert time.monotonic() < end
            time.sleep(0.02)


@contextmanager
def serving(limits, **methods):
    """A server with the bundled detector, and some methods more."""
    session = Session(demo_detector(), build_explainers(METHODS | methods),
                      Selection(), most=limits.photos)
    worker = Worker(limits.places, limits.seconds)
    live = Live(session, worker, limits)
    thread = threading.Thread(target=live.server.run, args=([live.listening],))
    thread.start()
    try:
        while not live.server.started:
            time.sleep(0.01)
        yield live
    finally:
        live.server.should_exit = True
        thread.join()
        worker.close()
        live.listening.close()
