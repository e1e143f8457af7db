"""Reports in a browser, for tests: to open them, to act, to read pixels."""
import base64
import io
from contextlib import contextmanager

import cv2
import numpy as np
from demo import demo_detector
from PIL import Image

from mmdet_diffmap import explain

METHODS = {
    'odam': dict(type='ODAM'),
    # several levels take part
    'backbone': dict(type='ODAM', target_layer='backbone', outputs='score'),
    # no grids of the detector's
    'd-rise': dict(type='DRISE', masks=40),
}
# methods that were asked for both sides, and one that was not
BOTH = {
    'why': dict(type='ODAM', outputs='contrast', evidence='both'),
    # several outputs and levels take part
    'two': dict(type='ODAM', outputs=['score', 'x1'], evidence='both',
                target_layer='backbone'),
    'odam': dict(type='ODAM'),
}
HOSTILE = '<img src=x onerror=document.hacked=1>&"\'.png'
CLASSES = [f'<b>{i}</b></script><script>document.hacked=1</script>'
           for i in range(8)]
OPACITY, KNEE = 0.85, 0.16  # of a value v: OPACITY v² (1 + KNEE) / (v² + KNEE)
# of a value that was packed in 8 bits, and is read back from the overlay's
# opacity in 8 bits; that hardly changes close to zero
TOLERANCE, AT_ZERO = 0.012, 0.04


@contextmanager
def opened(chromium, path, address='', **options):
    """The open page; at the end it must not have complained, nor asked for
    anything outside of its file."""
    page = chromium.new_page(viewport=dict(width=1300, height=800), **options)
    complaints, requests = [], []
    page.on('console', lambda message: complaints.append(message.text))
    page.on('pageerror', lambda error: complaints.append(str(error)))
    page.on('request', lambda request: requests.append(request.url))
    page.goto(path.as_uri() + address)
    drawn(page)
    yield page
    assert not complaints
    outside = [url for url in requests if not url.startswith(
        (path.as_uri(), 'data:', 'blob:'))]
    assert not outside
    assert page.evaluate('document.hacked') is None
    page.close()


def drawn(page):
    """Wait until all is drawn that was asked for."""
    page.wait_for_selector('#panels[aria-busy=false]')


def act(page, action, *arguments):
    """Do something, and wait until it is drawn."""
    action(*arguments)
    drawn(page)


def press(page, *keys):
    for key in keys:
        act(page, page.keyboard.press, key)


def overlay(page, panel=0):
    """The pixels of a panel's overlay, RGBA (H, W, 4)."""
    png = page.evaluate(
        f'document.getElementById("overlay-{panel}").toDataURL()')
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(
        png.partition(',')[2]))).convert('RGBA'))


def values(page, panel=0):
    """The absolute values that an overlay shows, by its opacity."""
    opaque = overlay(page, panel)[..., 3] / (255 * OPACITY)
    return np.sqrt(KNEE * opaque / (1 + KNEE - opaque))


def box(page, index, panel=0):
    """The line of an object's box."""
    return page.locator(
        f'#boxes-{panel} [data-object="{index}"] rect.line')


def click(page, index):
    """Click into the middle of a box."""
    place = box(page, index).bounding_box()
    act(page, page.mouse.click, place['x'] + place['width'] / 2,
        place['y'] + place['height'] / 2)


def view(page):
    """What the page shows, by its address."""
    return page.evaluate(
        'Object.fromEntries(new URLSearchParams(location.hash.slice(1)))')


def go(page, address):
    """Follow a link to a view of the open page, and wait until it is drawn.

    A browser's own way to do so reloads the page now and then, if the page
    changes its address at the same time.
    """
    page.evaluate('''address => new Promise(done => {
        addEventListener('hashchange', done, {once: true});
        location.hash = address;
    })''', address)
    drawn(page)


def maps(folder, method, **options):
    result = explain(demo_detector(), folder / HOSTILE,
                     dict(METHODS[method], **options))
    return result.pred_instances.heatmaps


def close(page, expected, tolerance=TOLERANCE, panel=0):
    found, expected = values(page, panel), expected.abs().numpy()
    assert found.shape == expected.shape
    off = np.abs(found - expected)
    assert off.max() < max(tolerance, AT_ZERO)
    assert off[expected > 0.1].max(initial=0) < tolerance


def close_in_colour(page, expected, tolerance=TOLERANCE, panel=0):
    """Signed values are as expected: orange above zero, and blue below."""
    close(page, expected, tolerance, panel)
    red, _, blue, _ = np.moveaxis(overlay(page, panel).astype(int), 2, 0)
    strong = expected.numpy()
    assert (red > blue)[strong > 0.1].all()
    assert (blue > red)[strong < -0.1].all()


def save(page):
    """What the page saves as a picture, RGB, and the name of the file."""
    with page.expect_download() as download:
        page.click('#save-picture')
    file = download.value
    picture = np.asarray(Image.open(file.path()).convert('RGB'))
    return picture.astype(int), file.suggested_filename


def photograph(page, panel=0):
    """The photograph that the page shows, RGB (H, W, 3)."""
    content = page.evaluate('''async panel => {
        const image = document.getElementById(`photo-${panel}`);
        const {naturalWidth: width, naturalHeight: height} = image;
        const canvas = Object.assign(
            document.createElement('canvas'), {width, height});
        canvas.getContext('2d').drawImage(image, 0, 0);
        const file = await new Promise(done => canvas.toBlob(done));
        return Array.from(new Uint8Array(await file.arrayBuffer()));
    }''', panel)
    return np.asarray(Image.open(io.BytesIO(bytes(content))).convert('RGB'))


def shown(page, panel=0):
    """A panel's photograph under its map, one pixel a pixel."""
    photo = photograph(page, panel).astype(float)
    map_ = overlay(page, panel).astype(float)
    if map_.any() and not page.is_checked('#show-colour'):
        # as the standard of style sheets defines greys
        photo[:] = (photo @ [0.2126, 0.7152, 0.0722])[..., None]
    share = map_[..., 3:] / 255
    return photo * (1 - share) + map_[..., :3] * share


def enlarged(picture, pixels):
    return cv2.resize(picture.astype(np.float32), None, fx=pixels, fy=pixels,
                      interpolation=cv2.INTER_LINEAR)


def find(picture, part):
    """Where a part is in a picture: its first row and column."""
    match = cv2.matchTemplate(picture.astype(np.float32),
                              part.astype(np.float32), cv2.TM_SQDIFF)
    x, y = cv2.minMaxLoc(match)[2]
    return y, x


def pixels_of(page, panel=0):
    """How many pixels of the file a pixel of the photograph has."""
    width = page.locator(f'#photo-{panel}').bounding_box()['width']
    return round(2 * width / photograph(page, panel).shape[1])
