// The stage: a picture, its map and its boxes, and the part of them that is
// seen, which is the same on all stages of a page.

// ---- The photograph

let opened = {index: null, url: null};  // the photograph that is shown, as a file of its own
function pictureOf(index) {
  if (opened.index !== index) {
    opened.url?.then(URL.revokeObjectURL);
    opened = {index, url: bytes(`photo-${index}`).then(content =>
      URL.createObjectURL(new Blob([content], {type: 'image/jpeg'})))};
  }
  return opened.url;
}

async function showPhoto(at, index) {
  const {name, size: [width, height]} = data.photos[index];
  Object.assign($(`overlay${at}`), {width, height});
  $(`boxes${at}`).setAttribute('viewBox', `0 0 ${width} ${height}`);
  const url = await pictureOf(index);
  if (opened.index === index) Object.assign($(`photo${at}`), {src: url, alt: name});
}

// In a narrow window all stands below each other, as high as what is in it.
function isNarrow() {
  return matchMedia('(max-width: 900px)').matches;
}

// As large as there is room for, in a shape; a small room is left.
function fitInto(stage, [width, height], room) {
  const scale = Math.min(room[0] / width, Math.max(240, room[1]) / height);
  Object.assign(stage.style, {width: `${width * scale}px`, height: `${height * scale}px`});
  noteSize(stage, [width * scale, height * scale]);
}

// How large a stage is on the screen, and what of it is empty above the picture,
// for style sheets of paper.
function noteSize(stage, [width, height], margin = 0) {
  for (const [name, value] of [['--wide', width], ['--high', height], ['--margin', Math.max(0, margin)]])
    stage.style.setProperty(name, value);
}

// A box of the original photograph in pixels of the picture, corners in order.
function placed({size, original}, box) {
  const [x1, y1, x2, y2] = box.map((value, i) => value * size[i % 2] / original[i % 2]);
  return {x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1)};
}

function hull(boxes) {
  const x = Math.min(...boxes.map(box => box.x)), y = Math.min(...boxes.map(box => box.y));
  return {
    x, y,
    width: Math.max(...boxes.map(box => box.x + box.width)) - x,
    height: Math.max(...boxes.map(box => box.y + box.height)) - y,
  };
}

function shapeOf(name, properties = {}) {
  const shape = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(properties)) shape.setAttribute(key, value);
  return shape;
}

function boxShape(photo, box, title) {
  const shape = shapeOf('rect', placed(photo, box)), label = shapeOf('title');
  label.textContent = title;
  shape.append(label);
  return shape;
}

// A white line is seen on anything dark, and its edge on anything white. The
// outline of a mask is a path in pixels of the picture, if there is one.
function edgedBox(box, outline) {
  const shape = shapeOf('g'), names = ['edge', 'line'];
  shape.append(...names.map(name => shapeOf('rect', {...box, class: name})));
  if (outline) shape.append(...names.map(name => shapeOf('path', {d: outline, class: name})));
  return shape;
}

function area(shape) {
  return shape.getAttribute('width') * shape.getAttribute('height');
}

// Where the pointer is in the original photograph, and the values there, each
// of a map or null; the picture takes up `place` of the window.
function textAt(pointer, {size: [width, height], original}, maps, place) {
  const x = (pointer.clientX - place.left) / place.width, y = (pointer.clientY - place.top) / place.height;
  if (x < 0 || x >= 1 || y < 0 || y >= 1) return '';
  const at = Math.floor(y * height) * width + Math.floor(x * width);
  const texts = maps.map(values => values ? values[at].toFixed(2) : '–');
  return `x ${Math.floor(x * original[0])}, y ${Math.floor(y * original[1])}` +
    (maps.some(Boolean) ? `: ${texts.join(' | ')}` : '');
}

// ---- The part that is seen

const LARGEST = 40;  // what a pixel of the picture takes of the screen, in pixels
// `zoom` 1 shows all; `x` and `y` are the middle, in shares of the picture
const view = {zoom: 1, x: 0.5, y: 0.5};

// Where the picture's first pixel is in a stage, and how large one is there.
function placeOf(stage, [width, height]) {
  const room = [stage.clientWidth, stage.clientHeight];
  const scale = view.zoom * Math.min(room[0] / width, room[1] / height);
  // there is no margin at one side only
  const start = (space, length, middle) => length <= space ? (space - length) / 2 :
    Math.min(0, Math.max(space - length, space / 2 - middle * length));
  return {
    scale, left: start(room[0], width * scale, view.x), top: start(room[1], height * scale, view.y), room,
  };
}

function showView(at, size) {
  const {scale, left, top, room} = placeOf($(`stage${at}`), size);
  const picture = $(`photo${at}`).parentElement;
  Object.assign(picture.style, {
    width: `${size[0]}px`, height: `${size[1]}px`, transform: `translate(${left}px, ${top}px) scale(${scale})`,
  });
  picture.classList.toggle('pixels', scale >= 8);
  noteSize($(`stage${at}`), room, top);
  $(`stage${at}`).classList.toggle('zoomed', view.zoom > 1);
  $(`boxes${at}`).setAttribute('viewBox', [-left, -top, ...room].map(length => length / scale).join(' '));
}

// Have the picture's first pixel at a place of the stage, or as near to it as
// the picture reaches.
function moveTo(stage, size, left, top) {
  const {scale, room} = placeOf(stage, size);
  Object.assign(view, {x: (room[0] / 2 - left) / size[0] / scale, y: (room[1] / 2 - top) / size[1] / scale});
  const settled = placeOf(stage, size);
  view.x = (room[0] / 2 - settled.left) / size[0] / scale;
  view.y = (room[1] / 2 - settled.top) / size[1] / scale;
}

function moveBy(stage, size, x, y) {
  const {left, top} = placeOf(stage, size);
  moveTo(stage, size, left + x, top + y);
}

// What is at a place of the stage stays there; by default, at its middle.
function zoomBy(stage, size, factor, at = {x: stage.clientWidth / 2, y: stage.clientHeight / 2}) {
  const {scale, left, top} = placeOf(stage, size), fit = scale / view.zoom;
  view.zoom = Math.min(Math.max(1, LARGEST / fit), Math.max(1, view.zoom * factor));
  const by = fit * view.zoom / scale;
  moveTo(stage, size, at.x - (at.x - left) * by, at.y - (at.y - top) * by);
}

function zoomToAll() {
  Object.assign(view, {zoom: 1, x: 0.5, y: 0.5});
}

// Have a part of the picture in the middle, with something around it.
function zoomToPart(stage, size, {x, y, width, height}) {
  zoomToAll();
  const {scale, room} = placeOf(stage, size);
  zoomBy(stage, size, 0.55 * Math.min(room[0] / width, room[1] / height) / scale);
  const {scale: larger} = placeOf(stage, size);
  moveTo(stage, size, room[0] / 2 - (x + width / 2) * larger, room[1] / 2 - (y + height / 2) * larger);
}

// Of a page whose `changeView` moves the view by one of the functions above.
const PANS = {w: [0, 80], a: [80, 0], s: [0, -80], d: [-80, 0]};  // in pixels of the screen
const VIEW_KEYS = [
  [[']'], ']', 'zoom in', () => changeView(zoomBy, 1.5)],
  [['['], '[', 'zoom out', () => changeView(zoomBy, 1 / 1.5)],
  [['0'], '0', 'show all of the photograph', () => changeView(zoomToAll)],
  [[...'wasd'], 'w a s d', 'see what is above, left, below, right', key => changeView(moveBy, ...PANS[key])],
];

// ---- What is at a place

const REACH = 24;  // what a box takes of the screen at least, in pixels: smaller ones are hard to meet

// Which boxes of the picture a point of it meets, small ones before those that
// hold them.
function boxesAt(boxes, {x, y}, scale) {
  const met = [];
  boxes.forEach((box, index) => {
    const wide = Math.max(box.width, REACH / scale), high = Math.max(box.height, REACH / scale);
    const across = Math.abs(x - box.x - box.width / 2), down = Math.abs(y - box.y - box.height / 2);
    if (across <= wide / 2 && down <= high / 2) met.push({index, area: wide * high, distance: across + down});
  });
  return met.sort((a, b) => a.area - b.area || a.distance - b.distance).map(({index}) => index);
}

// ---- The pointer

const CLICK = 4;  // pixels that the pointer moves in a click at most; more is a drag

// `actions` are functions of a place in pixels of the stage and the event:
// `point` (null where it has left), `click` and `twice`; and `seen` says that
// another part is seen. `size` gives the picture's.
function listenToStage(stage, size, actions) {
  const down = new Map();  // where each button or finger is that is down
  let dragged = false;
  const at = event => {
    const {left, top} = stage.getBoundingClientRect();
    return {x: event.clientX - left, y: event.clientY - top};
  };
  const change = (zoom, ...values) => {
    zoom(stage, size(), ...values);
    actions.seen();
  };
  stage.addEventListener('pointerdown', event => {
    if (event.button > 1) return;
    if (!down.size) dragged = false;
    down.set(event.pointerId, {...at(event), from: at(event)});
  });
  stage.addEventListener('pointermove', event => {
    const one = down.get(event.pointerId), place = at(event);
    if (!one) return actions.point(place, event);
    if (!dragged && Math.hypot(place.x - one.from.x, place.y - one.from.y) <= CLICK && down.size === 1) return;
    dragged = true;
    stage.setPointerCapture(event.pointerId);
    const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const distance = from => Math.max(1, Math.hypot(from.x - other.x, from.y - other.y));
      change(zoomBy, distance(place) / distance(one), other);
    } else change(moveBy, place.x - one.x, place.y - one.y);
    Object.assign(one, place);
  });
  for (const name of ['pointerup', 'pointercancel'])
    stage.addEventListener(name, event => down.delete(event.pointerId));
  stage.addEventListener('pointerleave', event => {
    if (!down.size) actions.point(null, event);
  });
  stage.addEventListener('click', event => {
    if (!dragged) actions.click(at(event), event);
  });
  stage.addEventListener('dblclick', event => actions.twice(at(event), event));
  // one finger may move the page, two are ours
  stage.addEventListener('touchmove', event => {
    if (event.touches.length > 1) event.preventDefault();
  }, {passive: false});
  stage.addEventListener('wheel', event => {
    // in a narrow window the wheel moves the page
    if (isNarrow() && !event.ctrlKey) return;
    event.preventDefault();
    const lines = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1);
    // fingers on a touch pad move little, and are told by ctrlKey
    change(zoomBy, Math.exp(-Math.max(-200, Math.min(200, lines)) * (event.ctrlKey ? 0.01 : 0.002)), at(event));
  }, {passive: false});
}
