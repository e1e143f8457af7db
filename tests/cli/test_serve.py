"""``mmdet-diffmap serve`` from its start to Ctrl-C."""
import os
import re
import signal
import socket
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from demo import CONFIG, ROOT, WEIGHTS
from programs import added_path

pytest.importorskip('starlette', reason='the extra serve is not installed')
pytest.importorskip('uvicorn', reason='the extra serve is not installed')

from mmdet_diffmap.__main__ import main
from mmdet_diffmap.serve import server


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


@pytest.mark.slow
@pytest.mark.parametrize('host', ['127.0.0.1', '0.0.0.0'])
def test_the_page_is_there_until_ctrl_c(port, host, tmp_path):
    """In a process of its own: Ctrl-C is for all of a process."""
    arguments = [
        'serve', CONFIG, WEIGHTS, '--host', host, '--port', port,
        '--max-upload', '0.5', '--explainer', 'grad-cam', 'odam', 'd-rise',
        '--explainer-options', 'masks=9', '--score-thr', '0.4',
        '--device', 'cpu', '--colours', 'viridis']
    with subprocess.Popen(
            [sys.executable, '-m', 'mmdet_diffmap', *map(str, arguments)],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=dict(os.environ, PYTHONWARNINGS='ignore',
                                PYTHONPATH=added_path(ROOT))) as process:
        try:
            loaded, said, address = (process.stdout.readline()
                                     for _ in range(3))
            refused, _ = get(f'http://127.0.0.1:{port}/')
            found, page = get(re.sub('//[^:/]+', '//127.0.0.1',
                                     address.strip()))
        finally:
            process.send_signal(signal.SIGINT)
        left, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and left == 'ended\n', errors
    assert loaded.startswith('fcos_scenes.py: loaded in ')
    assert said == 'open this address in a browser (Ctrl-C ends it):\n'
    assert (refused, found) == (403, 200)
    if host == '127.0.0.1':
        assert not errors
    else:
        assert errors.startswith('warning: --host 0.0.0.0 can be reached from')
        assert len(errors.splitlines()) == 1
    assert re.findall(r'<option(?: class="no-layer")?>([^<]+)</option>',
                      page) == ['grad-cam', 'odam', 'd-rise']
    assert 'value="0.4"' in page and 'data-most="500000"' in page
    assert 'value="backbone.layer4"' in page
    assert 'masks=9' in page and 'fcos_scenes.pth' in page
    assert str(ROOT) not in page
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('host, is_alone', [
    ('127.0.0.1', True), ('127.8.9.1', True), ('::1', True),
    ('localhost', True), ('0.0.0.0', False), ('::', False),
    ('192.168.0.7', False), ('localhost.example', False)])
def test_addresses_of_this_machine_alone(host, is_alone):
    assert server.is_local(host) == is_alone


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
