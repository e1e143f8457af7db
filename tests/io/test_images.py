import os

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_diffmap.apis import find_images, read_image

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
    for name in ('b.jpg', 'a.PNG', 'note.txt', 'c.jpeg'):
        (tmp_path / name).write_bytes(b'')
    (tmp_path / 'inner').mkdir()
    (tmp_path / 'inner/d.jpg').write_bytes(b'')
    return tmp_path


def names(paths):
    return [os.path.basename(path) for path in paths]


def test_folder(folder):
    assert names(find_images([str(folder)])) == ['a.PNG', 'b.jpg', 'c.jpeg']


def test_pattern(folder):
    assert names(find_images([f'{folder}/*.jp*g'])) == ['b.jpg', 'c.jpeg']


def test_files_and_urls_stay_as_they_are(folder):
    paths = ['https://x.org/*.jpg', 'scene://0/1', 'missing.jpg']
    assert find_images(paths) == paths


def test_nothing_is_explained_twice(folder):
    assert names(find_images([f'{folder}/b.jpg', str(folder)])) == [
        'b.jpg', 'a.PNG', 'c.jpeg']


def test_file_with_brackets_in_its_name(tmp_path):
    file = tmp_path / 'a[1].jpg'
    file.write_bytes(b'')
    assert find_images([str(file)]) == [str(file)]


def test_folder_without_images(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no image'):
        find_images([str(tmp_path)])


def test_pattern_without_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='no file fits the pattern'):
        find_images([f'{tmp_path}/*.jpg'])


@pytest.mark.parametrize('mode, dtype, channels', [
    ('grey', np.uint8, ()), ('rgba', np.uint8, (4, )),
    ('grey16', np.uint16, ()), ('rgb16', np.uint16, (3, ))])
def test_kinds_of_images(mode, dtype, channels, tmp_path):
    top = np.iinfo(dtype).max
    pixels = RNG.integers(0, top, (9, 7, *channels), dtype, endpoint=True)
    file = str(tmp_path / f'{mode}.png')
    assert cv2.imwrite(file, pixels)
    image = read_image(file)
    assert image.shape == (9, 7, 3) and image.dtype == np.uint8
    expected = pixels[..., :3] if channels else np.repeat(
        pixels[..., None], 3, axis=2)
    error = image.astype(int) - expected.astype(float) * 255 / top
    assert np.abs(error).max() <= 1


@pytest.mark.parametrize('shape', [(1, 1), (1, 8000), (8000, 2)])
def test_extreme_sizes(shape, tmp_path):
    file = str(tmp_path / 'a.png')
    cv2.imwrite(file, np.zeros((*shape, 3), np.uint8))
    assert read_image(file).shape == (*shape, 3)


def test_camera_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    Image.new('RGB', (20, 10)).save(tmp_path / 'a.jpg', exif=exif)
    assert read_image(str(tmp_path / 'a.jpg')).shape == (20, 10, 3)


@pytest.mark.parametrize('extension', ['.jpg', '.png', '.bmp', '.webp'])
@pytest.mark.parametrize('share', [0, 0.01, 0.5, 0.9])
def test_truncated_image(extension, share, tmp_path):
    image = RNG.integers(0, 255, (64, 64, 3), np.uint8)
    content = cv2.imencode(extension, image)[1].tobytes()
    file = tmp_path / f'cut{extension}'
    file.write_bytes(content[:int(share * len(content))])
    with pytest.raises(OSError, match=rf'cut\{extension} is damaged'):
        read_image(str(file))


def test_text_is_no_image(tmp_path):
    (tmp_path / 'a.jpg').write_text('hello')
    with pytest.raises(OSError, match=r'a\.jpg is damaged, or of no known'):
        read_image(str(tmp_path / 'a.jpg'))


def test_missing_image():
    with pytest.raises(FileNotFoundError, match=r'no\.jpg does not exist'):
        read_image('no.jpg')


@pytest.mark.parametrize('path', ['scene://0', 'scene://a/b', 'scene://0/-1'])
def test_no_such_scene(path):
    with pytest.raises(FileNotFoundError, match='does not exist'):
        read_image(path)


@pytest.mark.parametrize('path', ['foo://a.jpg', 's3://a/b.jpg'])
def test_no_backend_for_a_path(path):
    with pytest.raises(OSError, match='there is no file backend for it'):
        read_image(path)


def test_no_such_address():
    with pytest.raises(OSError, match='cannot be downloaded'):
        read_image('http://127.0.0.1:9/a b.jpg')


def test_damage_that_upsets_the_readers(tmp_path):
    image = RNG.integers(0, 255, (32, 32, 3), np.uint8)
    content = bytearray(cv2.imencode('.tiff', image)[1].tobytes())
    seen = 0
    for place in RNG.integers(0, len(content), 300):
        damaged = content.copy()
        damaged[place:place + 4] = bytes(RNG.integers(0, 256, 4, np.uint8))
        (tmp_path / 'a.tiff').write_bytes(damaged)
        try:
            assert read_image(str(tmp_path / 'a.tiff')).ndim == 3
        except OSError as error:
            seen += 'a.tiff is damaged' in str(error)
    assert seen


def test_url_without_a_server():
    with pytest.raises(OSError, match='cannot be downloaded'):
        read_image('http://127.0.0.1:9/a.jpg')
