"""``mmdet-diffmap serve`` from its start to Ctrl-C."""
import os
import re
import signal
import socket
import sys
import threading
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

pytest.importorskip('starlette', reason='the extra serve is not installed')
pytest.importorskip('uvicorn', reason='the extra serve is not installed')

from mmdet_diffmap.__main__ import main


@pytest.fixture
def port():
    """One that is free."""
    with socket.create_server(('127.0.0.1', 0)) as listening:
        return listening.getsockname()[1]


def get(address):
    """Return a response's status and text."""
    try:
        with urlopen(address, timeout=60) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


class Visitor(threading.Thread):
    """Opens the page as soon as it is there, and then presses Ctrl-C."""

    def __init__(self, port, output):
        super().__init__()
        self.port = port
        self.output = output
        self.answers = []

    def run(self):
        printed = ''
        end = time.monotonic() + 60
        while 'http' not in printed and time.monotonic() < end:
            printed += self.output()
            time.sleep(0.1)
        address = re.search(r'http://\S+', printed)[0]
        try:
            self.answers = [
                get(f'http://127.0.0.1:{self.port}/'),
                get(re.sub('//[^:/]+', '//127.0.0.1', address))]
        finally:
            self.printed = printed
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize('host', ['127.0.0.1', '0.0.0.0'])
def test_the_page_is_there_until_ctrl_c(port, capsys, host):
    written = []
    def output():
        out, err = capsys.readouterr()
        written.append(err)
        return out
    visitor = Visitor(port, output)
    visitor.start()
    try:
        status = main([
            'serve', '--host', host, '--port', str(port), '--max-upload',
            '0.5', '--explainer', 'grad-cam', 'odam', 'd-rise',
            '--explainer-options', 'masks=9', '--score-thr', '0.4',
            '--evidence', 'both', '--device', 'cpu', '--colours', 'viridis'])
    finally:
        visitor.join()
    assert status == 0
    (refused, _), (found, page) = visitor.answers
    assert (refused, found) == (403, 200)
    assert 'loaded in' in visitor.printed
    out, err = capsys.readouterr()
    assert out == 'ended\n'
    written.append(err)
    warned = ''.join(written)
    if host == '127.0.0.1':
        assert not warned
    else:
        assert warned.startswith('warning: --host 0.0.0.0 can be reached from')
        assert len(warned.splitlines()) == 1
    assert re.findall(r'<option(?: class="no-layer")?>([^<]+)</option>',
                      page) == ['grad-cam', 'odam', 'd-rise']
    assert 'value="0.4"' in page and 'data-most="500000"' in page
    assert 'value="backbone.layer4"' in page
    assert 'masks=9' in page and 'fcos_scenes.py' in page


def test_a_port_that_is_taken(capsys):
    with socket.create_server(('127.0.0.1', 0)) as listening:
        port = listening.getsockname()[1]
        assert main(['serve', '--port', str(port)]) == 1
    assert capsys.readouterr().err == (
        f'error: port {port} of 127.0.0.1 cannot be used: Address already in '
        'use; give another --port or --host\n')


@pytest.mark.parametrize('arguments, said', [
    (['--port', '65536'], '65536 is not a port, 0 to 65535'),
    (['--max-upload', '0'], '0 is not a number above 0'),
    (['--max-photos', '0'], '0 is not a whole number, 1 or more'),
    (['--max-seconds', 'nan'], 'nan is not a number of seconds above 0')])
def test_arguments_that_make_no_sense(capsys, arguments, said):
    with pytest.raises(SystemExit):
        main(['serve', *arguments])
    assert said in capsys.readouterr().err


def test_what_is_missing_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'uvicorn', None)  # as if not installed
    with pytest.raises(SystemExit):
        main(['serve'])
    assert ('uvicorn cannot be imported: pip install \'mmdet_diffmap[serve]\''
            in capsys.readouterr().err)


def test_a_host_that_does_not_exist(capsys):
    assert main(['serve', '--host', 'no.invalid', '--port', '0']) == 1
    assert 'port 0 of no.invalid cannot be used' in capsys.readouterr().err
