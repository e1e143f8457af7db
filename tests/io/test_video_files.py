import base64

import cv2
import numpy as np
import pytest
from programs import apart, said

from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.io.encoders import ENCODERS, find_encoder, frames_in, works
from mmdet_diffmap.io.video_files import opened, writing

RATE = 10


def frames_of(count, width, height):
    """A square that goes to the right over a picture, BGR."""
    picture = cv2.resize(
        cv2.GaussianBlur(render_scene(0, 17).image, None, 1), (width, height))
    for number in range(count):
        frame = picture.copy()
        frame[10:40, 4 * number:4 * number + 30] = 40, 200, 250
        yield frame


def write_video(path, frames):
    with writing(path, RATE, frames[0].shape[1::-1]) as write:
        for frame in frames:
            write(frame)
    return path


#: Plays a video to its end, and then draws the frame at a time.
PLAY = """async ([source, seconds]) => {
  const video = document.createElement('video');
  document.body.append(video);
  const within = (promise, what) => Promise.race([promise, new Promise(
    (good, bad) => setTimeout(() => bad(`${what}: not in a minute`), 60000))]);
  const ended = new Promise((good, bad) => {
    video.onended = () => good(video.currentTime);
    video.onerror = () => bad(video.error.message);
  });
  const times = [];
  video.ontimeupdate = () => times.push(video.currentTime);
  video.muted = true;
  video.src = source;
  await video.play();
  const end = await within(ended, 'ended');
  const seeked = new Promise(good => { video.onseeked = good; });
  video.currentTime = seconds;
  await within(seeked, 'seeked');
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  return {end, times, duration: video.duration,
          picture: canvas.toDataURL('image/png').split(',')[1]};
}"""


@pytest.mark.parametrize('size', [(321, 243), (1280, 720)])
def test_browsers_play_it(size, tmp_path, chromium):
    frames = list(frames_of(12, *size))
    content = write_video(tmp_path / 'a.mp4', frames).read_bytes()
    source = 'data:video/mp4;base64,' + base64.b64encode(content).decode()
    page = chromium.new_page()
    played = page.evaluate(PLAY, [source, 7.5 / RATE])
    page.close()
    assert played['duration'] == pytest.approx(len(frames) / RATE, abs=0.02)
    assert played['end'] == pytest.approx(played['duration'], abs=0.02)
    assert len(set(played['times'])) > 1
    seen = cv2.imdecode(np.frombuffer(
        base64.b64decode(played['picture']), np.uint8), cv2.IMREAD_COLOR)
    assert seen.shape[1::-1] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    apart = [np.abs(seen[:size[1], :size[0]].astype(int) - frame).mean()
             for frame in frames]
    assert np.argmin(apart) == 7 and apart[7] < 4


@pytest.mark.parametrize('count', [1, 2, 30])
def test_every_frame_is_there(count, tmp_path):
    frames = list(frames_of(count, 160, 120))
    path = write_video(tmp_path / 'a.mp4', frames)
    assert frames_in(str(path)) == count
    with opened(path) as video:
        assert video.rate == RATE and video.count == count
        found = list(video.frames())
    assert len(found) == count
    for frame, expected in zip(found, frames):
        assert np.abs(frame.astype(int) - expected).mean() < 4


def test_odd_sizes_lose_nothing(tmp_path):
    """Also of a row and a column that look like no other."""
    frame = np.full((91, 121, 3), 30, np.uint8)
    frame[-1] = frame[:, -1] = 220
    with opened(write_video(tmp_path / 'a.mp4', [frame] * 5)) as video:
        found = video.first.astype(int)
    assert found.shape == (92, 122, 3)
    np.testing.assert_allclose(found[-2:], 220, atol=25)
    np.testing.assert_allclose(found[:, -2:], 220, atol=25)
    np.testing.assert_allclose(found[:80, :110], 30, atol=5)


def test_encoders():
    """Of four letters that mean nothing there is none."""
    encoder = find_encoder(RATE, (64, 48))
    assert encoder in ENCODERS
    assert works(encoder, RATE, (64, 48))
    assert not works('no!!', RATE, (64, 48))
    assert not any(works(letters, RATE, (64, 48))
                   for letters in ENCODERS[:ENCODERS.index(encoder)])


def test_size_that_no_encoder_has(tmp_path):
    with pytest.raises(OSError, match=r'a\.mp4 cannot be written: OpenCV has '
                       r'no encoder \(avc1 or vp09\) for 70000x16 pixels'), \
            writing(tmp_path / 'a.mp4', RATE, (70000, 16)):
        pass
    assert not list(tmp_path.iterdir())


def test_frames_that_are_lost(tmp_path):
    """OpenCV leaves out frames of another size and says nothing."""
    frames = [next(frames_of(1, *size)) for size in ((64, 48), (64, 50))]
    with pytest.raises(OSError, match=r'a\.mp4 .* its file breaks off'):
        write_video(tmp_path / 'a.mp4', frames)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_terminal_stays_clean(tmp_path):
    """What FFmpeg says of encoders that it does not have is not for users."""
    (tmp_path / 'writes.py').write_text(
        'import sys, numpy; from pathlib import Path\n'
        'from mmdet_diffmap.io.video_files import writing\n'
        'with writing(Path(sys.argv[1]), 10, (64, 48)) as write:\n'
        '    write(numpy.zeros((48, 64, 3), numpy.uint8))\n')
    path = tmp_path / 'a.mp4'
    process = apart(['-m', 'writes', path], tmp_path)
    process.join()
    assert process.exitcode == 0
    out, errors = said(tmp_path)
    assert frames_in(str(path)) == 1
    assert out == ''
    assert not [line for line in errors.splitlines()
                if 'ffmpeg' in line.lower() or '@ 0x' in line]
