"""What the server answers, to its own page and to everybody else."""
import json
import logging
import re
import socket
import struct
import threading
import time
import zlib
from contextlib import closing

import cv2
import numpy as np
import pytest
from demo import demo_detector
from live_server import QUESTION, TOKEN, serving

from mmdet_diffmap import explain
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.serve.session import sentence
from mmdet_diffmap.serve.uploads import Limits, plain_name

PICTURE = render_scene(0, 2).image
SMALL = Limits(upload=200_000, pixels=1_000_000, upload_seconds=2, photos=3,
               places=2)
POST = 'photographs?method=odam&layer=&score_thr=0.3&name=a.png'


def encoded(kind='.png', picture=PICTURE):
    return cv2.imencode(kind, picture)[1].tobytes()


def bomb(side):
    """A PNG of a few bytes that says that it is large."""
    def chunk(kind, content):
        return struct.pack('>I', len(content)) + kind + content + struct.pack(
            '>I', zlib.crc32(kind + content))
    return b'\x89PNG\r\n\x1a\n' + chunk(
        b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)) + chunk(
            b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b'')


@pytest.fixture(scope='module')
def live():
    with serving(SMALL) as live:
        yield live


@pytest.fixture(autouse=True)
def nothing_kept(live):
    yield
    live.worker.stop()
    live.wait_until_idle()
    live.session.clear()


def result(lines):
    """The last line; those before it say how far the work is."""
    assert all(set(line) == {'before', 'share'} for line in lines[:-1])
    return lines[-1]


def objects(photo):
    (detector, ) = photo['detectors']
    return detector['objects']


def methods(photo):
    (detector, ) = photo['detectors']
    return detector['methods']


def test_objects_are_those_of_explain(live):
    found = result(live.explain(encoded(), name='s t/r<e>et.png'))
    instances = explain(demo_detector(), PICTURE).pred_instances
    photo = found['photo']
    assert photo['name'] == 'r<e>et.png' and found['number'] == 0
    assert [one['score'] for one in objects(photo)] == \
        instances.scores.tolist()
    assert [one['box'] for one in objects(photo)] == \
        instances.bboxes.tolist()
    assert set(found['payloads']) == {'photo-0', 'maps-0-0-0'}
    assert found['first'] and 0 < found['seconds'] < 60


def test_one_more_method_and_another_threshold(live):
    first = result(live.explain(encoded()))
    second = result(live.explain(None, 0, method='grad-cam', layer='neck[0]'))
    assert objects(second['photo']) == objects(first['photo'])
    assert [one['name'] for one in methods(second['photo'])] == [
        'odam', 'grad-cam, neck[0]']
    assert set(second['payloads']) == {
        'photo-0', 'maps-0-0-0', 'maps-0-0-1'}
    # the same once more is there already; the method's own layer is no other
    for layer in 'neck', '':
        again = result(live.explain(None, 0, layer=layer))
        assert again['photo'] == second['photo']
        assert again['method'] == 'odam'
    low = result(live.explain(None, 0, score_thr='0.05'))
    assert [one['name'] for one in methods(low['photo'])] == ['odam']
    scores = explain(demo_detector(), PICTURE,
                     score_thr=0.05).pred_instances.scores
    assert [one['score'] for one in objects(low['photo'])] == \
        scores.tolist()
    assert len(scores) > len(objects(first['photo']))


def test_the_page_has_what_is_kept_until_it_is_cleared(live):
    live.explain(encoded(), name='kept.png')
    assert 'kept.png' in live.ask('GET')[2]
    assert live.ask('DELETE', 'photographs')[0] == 200
    assert 'kept.png' not in live.ask('GET')[2]
    assert live.refusal('POST', POST.replace('?', '/0?'))[0] == 404


def test_photographs_of_one_name_are_told_apart(live):
    names = [result(live.explain(encoded(), name='a.png'))['photo']['name']
             for _ in range(3)]
    assert names == ['a.png', 'a.png (2)', 'a.png (3)']
    assert all(name in live.ask('GET')[2] for name in names)


def test_a_layer_that_does_not_exist(live):
    error = result(live.explain(encoded(), layer='backbone.no'))['error']
    assert error.startswith("target layer 'backbone.no' does not exist: "
                            'backbone has ')
    error = result(live.explain(encoded(), layer='__class__'))['error']
    assert 'does not exist' in error
    assert not live.session.kept


@pytest.mark.parametrize('changes, reason', [
    (dict(method='no'), "there is no method 'no', but odam, grad-cam"),
    (dict(score_thr='nan'), 'must be a number from 0 to 1'),
    (dict(score_thr='2'), 'must be a number from 0 to 1'),
    (dict(score_thr=''), 'must be a number from 0 to 1')])
def test_questions_that_make_no_sense(live, changes, reason):
    query = '&'.join(f'{key}={value}'
                     for key, value in dict(QUESTION, **changes).items())
    status, said = live.refusal('POST', f'photographs?{query}', encoded())
    assert status == 400 and reason in said


# ---- Who is let in

REQUESTS = [('GET', '', None), ('POST', POST, encoded()),
            ('POST', POST.replace('?', '/0?'), None),
            ('DELETE', 'photographs', None), ('GET', 'no', None)]


@pytest.mark.parametrize('token', [
    '', 'x', TOKEN[:-1], TOKEN + 'x', TOKEN.upper(), '%ff', 'é', '.',
    f'x/../{TOKEN}', f'%2e%2e/{TOKEN}'])
@pytest.mark.parametrize('method, path, body', REQUESTS)
def test_no_token_or_a_wrong_one(live, token, method, path, body):
    address = f'/{token}/{path}'.encode('latin1').decode('latin1')
    with socket.create_connection(('127.0.0.1', live.port)) as raw:
        raw.sendall(f'{method} {address} HTTP/1.1\r\nHost: localhost\r\n'
                    'Content-Length: 0\r\n\r\n'.encode('latin1'))
        answer = raw.recv(10_000).decode()  # its beginning
    assert re.match(r'HTTP/1.1 (403|400) ', answer), answer
    assert TOKEN not in answer and not live.session.kept


@pytest.mark.parametrize('host, is_let_in', [
    ('127.0.0.1', True), ('localhost', True), ('LocalHost:9', True),
    ('[::1]:8765', True), ('evil.example', False), ('', False),
    ('127.0.0.1.evil.example', False), ('localhost.evil.example', False),
    ('evil.example:80', False), ('127.0.0.1@evil.example', False),
    ('[', False), ('2130706433.nip.io', False)])
def test_names_that_may_lead_here(live, host, is_let_in):
    status, _, text = live.ask('GET', headers=dict(Host=host))
    assert (status == 200) == is_let_in
    if not is_let_in:
        assert status in (400, 403) and TOKEN not in text


@pytest.mark.parametrize('origin, is_let_in', [
    (None, True), ('http://{}', True), ('http://evil.example', False),
    ('null', False), ('http://127.0.0.1:1', False),
    ('http://evil.example/{}', False), ('', False)])
@pytest.mark.parametrize('method, path, body', REQUESTS[1:4])
def test_pages_of_other_sites(live, method, path, body, origin, is_let_in):
    live.explain(encoded())
    host = f'127.0.0.1:{live.port}'
    headers = {} if origin is None else dict(Origin=origin.format(host))
    status, answered, text = live.ask(method, path, body, headers)
    assert status == (200 if is_let_in else 403), text
    assert not any(name.lower().startswith('access-control')
                   for name in answered)
    if not is_let_in:
        assert len(live.session.kept) == 1


def test_no_permission_is_given_to_other_sites(live):
    status, headers, _ = live.ask('OPTIONS', POST, headers={
        'Origin': 'http://evil.example',
        'Access-Control-Request-Method': 'POST'})
    assert status == 403
    assert not any(name.lower().startswith('access-control')
                   for name in headers)


@pytest.mark.parametrize('path, token, status', [
    ('', TOKEN, 200), ('no', TOKEN, 404), ('', 'x', 403)])
def test_every_answer_has_the_headers(live, path, token, status):
    found, headers, _ = live.ask('GET', path, token=token)
    assert found == status
    assert headers['X-Content-Type-Options'] == 'nosniff'
    assert headers['Referrer-Policy'] == 'no-referrer'
    assert headers['Cache-Control'] == 'no-store'
    policy = headers['Content-Security-Policy']
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy and 'unsafe' not in policy
    assert "frame-ancestors 'none'" in policy
    assert 'Server' not in headers


@pytest.mark.parametrize('method, path, status', [
    ('GET', 'no', 404), ('GET', '../../etc/passwd', 404),
    ('GET', 'photographs/0', 405), ('GET', 'photographs', 405),
    ('PUT', 'photographs', 405), ('POST', '', 405),
    ('DELETE', 'photographs/0', 405), ('POST', 'photographs/-1', 404),
    ('POST', 'photographs/x', 404), ('GET', 'photo-0', 404)])
def test_nothing_else_is_there(live, method, path, status):
    assert live.refusal(method, path)[0] == status


# ---- What is sent

def test_too_large_a_file_that_says_so(live):
    status, reason = live.refusal(
        'POST', POST, headers={'Content-Length': str(SMALL.upload + 1)})
    assert status == 413
    assert reason == ('the file has more than 0.2 MB, which is the most that '
                      'is taken (--max-upload)')


def test_too_large_a_file_that_does_not_say_so(live):
    sent = 0
    with socket.create_connection(('127.0.0.1', live.port)) as raw:
        raw.sendall(f'POST /{TOKEN}/{POST} HTTP/1.1\r\nHost: localhost\r\n'
                    'Transfer-Encoding: chunked\r\n\r\n'.encode())
        raw.settimeout(10)
        try:  # much more than the server and both sockets could hold
            while sent < 200 * SMALL.upload:
                raw.sendall(b'8000\r\n' + bytes(0x8000) + b'\r\n')
                sent += 0x8000
        except OSError:
            pass
        try:
            answer = raw.recv(10_000).decode()
        except ConnectionResetError:  # our own bytes crossed the answer
            answer = ' 413 '
    assert ' 413 ' in answer
    assert sent < 100 * SMALL.upload


def test_a_file_of_just_the_size_is_read(live):
    content = encoded() + bytes(SMALL.upload - len(encoded()))
    assert 'photo' in result(live.explain(content))
    assert live.refusal('POST', POST, content + b' ')[0] == 413


@pytest.mark.parametrize('side', [1001, 13_000, 50_000, 2**31 - 1])
def test_few_bytes_that_would_be_many_pixels(live, side):
    status, reason = live.refusal('POST', POST, bomb(side))
    assert status == 413
    assert reason.startswith('the image has more than 1 million pixels')


@pytest.mark.parametrize('content, reason', [
    (b'', 'the file is empty'),
    (b'GIF89a' + bytes(100), 'no image of a known kind'),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'no image of a known'),
    (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'no image of a'),
    (b'#!/bin/sh\nid\n', 'no image of a known kind'),
    (b'\x89PNG\r\n\x1a\n', 'no image of a known kind')])
def test_files_that_are_no_photograph(live, content, reason):
    status, said = live.refusal('POST', POST, content)
    assert status == 415 and reason in said


@pytest.mark.parametrize('kind', ['.jpg', '.png', '.bmp', '.tiff', '.webp'])
def test_every_kind_of_file(live, kind):
    if kind == '.webp':
        content = cv2.imencode(kind, PICTURE,
                               [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    else:
        content = encoded(kind)
    photo = result(live.explain(content))['photo']
    assert photo['original'] == [192, 192] and len(objects(photo)) > 2


@pytest.mark.parametrize('kind', ['.jpg', '.png'])
def test_a_file_that_breaks_off(live, kind):
    content = encoded(kind)
    error = result(live.explain(content[:len(content) // 2]))['error']
    assert error.startswith('image a.png is damaged: ')
    assert not live.session.kept


def test_a_request_that_breaks_off(live):
    with socket.create_connection(('127.0.0.1', live.port)) as raw:
        raw.sendall(f'POST /{TOKEN}/{POST} HTTP/1.1\r\nHost: localhost\r\n'
                    'Content-Length: 1000\r\n\r\nabc'.encode())
    assert live.ask('GET')[0] == 200
    assert not live.session.kept and not live.worker.line


def test_a_client_that_sends_slowly(live):
    start = time.monotonic()
    with socket.create_connection(('127.0.0.1', live.port)) as raw:
        raw.sendall(f'POST /{TOKEN}/{POST} HTTP/1.1\r\nHost: localhost\r\n'
                    'Content-Length: 1000\r\n\r\n'.encode())
        for _ in range(3):
            raw.sendall(b'a')
            time.sleep(0.1)
        # nobody else waits for it
        assert 'photo' in result(live.explain(encoded()))
        answer = raw.makefile().read()
    assert ' 408 ' in answer and 'did not arrive within 2 s' in answer
    assert time.monotonic() - start < 20


@pytest.mark.parametrize('name, shown', [
    ('../../etc/passwd', 'passwd'), ('/etc/shadow', 'shadow'),
    ('C:\\photos\\a.png', 'a.png'), ('..', 'photograph'),
    ('', 'photograph'), ('a/', 'a'), ('a\0b\n\x1b[31m.png', 'ab[31m.png'),
    ('<img src=x onerror=alert(1)>.png', '<img src=x onerror=alert(1)>.png'),
    ('‮gnp.exe', 'gnp.exe'), ('é 日本.png', 'é 日本.png'),
    ('x' * 300 + '.png', 'x' * 196 + '.png')])
def test_names_are_text(live, name, shown):
    assert plain_name(name) == shown
    photo = result(live.explain(encoded(), name=name))['photo']
    assert photo['name'] == shown
    page = live.ask('GET')[2]
    assert '<img src=x' not in page


def test_a_name_opens_no_file(live, tmp_path, monkeypatch):
    """Not one of the folder in which the server was started either."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('a.png', np.zeros((40, 40, 3), np.uint8))
    photo = result(live.explain(encoded(), name='a.png'))['photo']
    assert photo['original'] == [192, 192]
    assert [one.name for one in tmp_path.iterdir()] == ['a.png']


@pytest.mark.parametrize('said, shown', [
    ('weights /home/me/w-1.pth do not fit', 'weights w-1.pth do not fit'),
    ('lost at /a/b/c.py:12 in f', 'lost at c.py:12 in f'),
    ("'/srv/x y.png'\nand more", "'x y.png'"),
    ('see https://x.org/a/b and a/b, 1/2', 'see https://x.org/a/b and a/b, '
     '1/2'), ('', 'a failed ValueError')])
def test_errors_show_no_paths(said, shown):
    assert sentence(ValueError(said)) == shown


# ---- One after the other

def test_only_so_many_photographs_are_kept(live):
    for _ in range(SMALL.photos):
        live.explain(encoded())
    status, reason = live.refusal('POST', POST, encoded())
    assert status == 409 and 'press Clear' in reason
    assert 'photo' in result(live.explain(None, 0, method='grad-cam'))


@pytest.fixture
def blocked(live):
    """The server works at something until this is set."""
    ended = threading.Event()
    live.worker.submit(lambda check: ended.wait(30))
    yield ended
    ended.set()


def test_a_full_line_is_said_and_places_are_told(live, blocked):
    connection, response = live.open('POST', POST, encoded())
    with closing(connection):
        assert json.loads(response.readline()) == dict(before=1, share=None)
        for path, body in (POST, encoded()), (POST, None):
            status, reason = live.refusal('POST', path, body)
            assert (status, reason) == (503, '2 explanations wait already: '
                                        'try again when one of them is done')
        assert live.ask('GET')[0] == 200
        blocked.set()
        lines = [json.loads(line) for line in response]
    assert 'photo' in result(lines)


def test_a_client_that_goes_away_frees_its_place(live, blocked):
    connection, response = live.open('POST', POST, encoded())
    response.readline()
    assert len(live.worker.line) == 2
    response.close()
    connection.close()
    end = time.monotonic() + 20
    while len(live.worker.line) > 1:
        assert time.monotonic() < end
        time.sleep(0.02)
    blocked.set()
    live.wait_until_idle()
    assert not live.session.kept


def test_a_running_explanation_tells_how_far_it_is_and_is_given_up(live):
    connection, response = live.open(
        'POST', POST.replace('odam', 'd-rise'), encoded())
    while not (share := json.loads(response.readline())['share']):
        pass
    assert 0 < share < 1
    response.close()
    connection.close()
    live.wait_until_idle()
    assert 'photo' in result(live.explain(encoded()))


def test_an_explanation_that_takes_too_long(live, monkeypatch):
    monkeypatch.setattr(live.worker, 'seconds', 0.5)
    error = result(live.explain(encoded(), method='d-rise'))['error']
    assert error == 'it took longer than 0.5 s, and was stopped'
    live.wait_until_idle()
    assert not live.session.kept


def test_log_files_of_others_stay_open(tmp_path):
    """Such as those of a run in the same process."""
    handler = logging.FileHandler(tmp_path / 'run.log')
    with serving(SMALL):
        assert handler.stream is not None
    handler.close()
