// The page: what is chosen, what is shown, and what people do.
const $ = id => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const JOINT = 'all';
const MODES = ['heat', 'signed', 'positive'];
const state = {
  photo: 0, target: null, rival: null, hover: null, mode: 'heat', method: 0, output: JOINT,
  opacity: 0.8, threshold: 0, sequential: data.sequential[0], diverging: data.diverging[0],
  boxes: true, overlay: true, colour: false,
  switched: false,  // from heat maps to differences, since two objects are chosen
};
let shown = null;  // the values that the overlay shows, one a pixel

function bytes(id) {
  return Uint8Array.from(atob($(id).textContent), char => char.charCodeAt(0));
}

// The maps of the open photograph, by method, unpacked once.
const unpacked = new Map();
function unpack(photo, method) {
  const key = `maps-${photo}-${method}`;
  if (!unpacked.has(key))
    unpacked.set(key, unpackMaps(data.photos[photo].methods[method], bytes(key)));
  return unpacked.get(key);
}

// ---- Colours

function colourTable(name) {
  return Array.from({length: 256}, (_, i) =>
    [0, 2, 4].map(at => parseInt(data.colours[name].substr(6 * i + at, 2), 16)));
}

// What is painted for each of `STEPS` values: the colour of the value, the
// more opaque the larger it is, as in the package's figures.
const STEPS = 1021;
function paints(name, low) {
  const table = colourTable(name), found = new Uint8ClampedArray(4 * STEPS);
  for (let i = 0; i < STEPS; i++) {
    const value = Math.abs(low + i / (STEPS - 1) * (1 - low));
    const alpha = value < state.threshold ? 0 : 255 * state.opacity * Math.sqrt(value);
    found.set([...table[Math.round(255 * i / (STEPS - 1))], alpha], 4 * i);
  }
  return new Uint32Array(found.buffer);
}

function isSigned() {
  return state.mode === 'signed';
}

function colourName() {
  return isSigned() ? state.diverging : state.sequential;
}

function paint(values) {
  const canvas = $('overlay'), context = canvas.getContext('2d', {willReadFrequently: true});
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!values) return;
  const low = isSigned() ? -1 : 0, palette = paints(colourName(), low);
  const picture = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(picture.data.buffer), scale = (STEPS - 1) / (1 - low);
  for (let i = 0; i < values.length; i++) pixels[i] = palette[Math.round((values[i] - low) * scale)];
  context.putImageData(picture, 0, 0);
}

// ---- The page

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function photo() {
  return data.photos[state.photo];
}

function groups() {
  return photo().methods[state.method].groups;
}

function objectName(index) {
  const one = photo().objects[index];
  return `${index} ${one.label}`;
}

// The object whose map is shown: the chosen one, or the one under the pointer.
function current() {
  return state.target ?? state.hover;
}

let asked = 0;  // how often something else was to be shown
async function draw() {
  const ticket = asked, target = current();
  const source = target === null || !state.overlay ? null : await unpack(state.photo, state.method);
  if (ticket !== asked) return;
  shown = source && valuesOf(source, state.output, state.mode, target, state.rival);
  paint(shown);
  readOut();
  $('stage').classList.toggle('grey', shown !== null && !state.colour);
  $('stage').setAttribute('aria-busy', false);
}

let waiting = false;
function update() {
  asked++;  // what is being drawn for an earlier choice is of no use
  $('stage').setAttribute('aria-busy', true);
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    describe();
    draw();
  });
}

// Everything but the overlay.
function describe() {
  for (const [id, role] of [['boxes', 'rect'], ['objects', 'tr']])
    for (const one of $(id).querySelectorAll(role)) {
      const index = +one.dataset.object;
      one.classList.toggle('target', index === state.target);
      one.classList.toggle('rival', index === state.rival);
      one.classList.toggle('hover', index === state.hover);
      if (role === 'tr') {
        one.setAttribute('aria-selected', index === state.target);
        const against = one.querySelector('button');
        against.disabled = state.target === null || index === state.target;
        against.setAttribute('aria-pressed', index === state.rival);
      }
    }
  $('boxes').classList.toggle('hidden', !state.boxes);
  for (const input of document.getElementsByName('mode')) input.checked = input.value === state.mode;
  $('method').value = state.method;
  describeOutputs();
  for (const id of ['opacity', 'threshold']) {
    $(id).value = state[id];
    $(id).nextElementSibling.value = `${Math.round(100 * state[id])} %`;
  }
  $('show-boxes').checked = state.boxes;
  $('show-overlay').checked = state.overlay;
  $('show-colour').checked = state.colour;
  describeColours();
  describeChoice();
  for (const [index, button] of [...$('gallery').children].entries())
    button.setAttribute('aria-current', index === state.photo);
  try {
    if (location.hash !== hash()) history.replaceState(null, '', hash());
  } catch (error) {
    // a browser may not allow it so often, or inside of another page: the
    // address is a convenience
  }
}

function describeOutputs() {
  const names = Object.keys(groups()), field = $('outputs');
  field.hidden = names.length < 2;
  rebuild(field, names.join(), () => [field.firstElementChild, ...names.map(name => element('label', {},
    element('input', {type: 'radio', name: 'output', value: name}), ` ${name === JOINT ? 'all joined' : name} `,
    element('small', {title: 'its highest point, against that of all joined'})))]);
  const target = current();
  for (const label of field.querySelectorAll('label')) {
    const [input, share] = label.children, name = input.value;
    input.checked = name === state.output;
    share.textContent = target === null || name === JOINT ? '' :
      `${Math.round(100 * groups()[name][target].peak / (groups()[JOINT][target].peak || 1))} %`;
  }
}

// New children, but only where they are others: the old ones may have the focus.
function rebuild(parent, key, children) {
  if (parent.dataset.made === key) return;
  parent.dataset.made = key;
  parent.replaceChildren(...children());
}

function describeColours() {
  const names = isSigned() ? data.diverging : data.sequential, select = $('colours');
  rebuild(select, names.join(), () => names.map(name => element('option', {
    value: name, textContent: name + (data.safe.includes(name) ? ' (colour-blind safe)' : '')})));
  select.value = colourName();
  const context = $('legend').firstChild.getContext('2d');
  colourTable(colourName()).forEach(([r, g, b], x) => {
    context.fillStyle = `rgb(${r} ${g} ${b})`;
    context.fillRect(x, 0, 1, 1);
  });
  $('low').textContent = isSigned() ? state.rival === null ? '−1 others only' : '−1 the other only' : '0';
  $('middle').textContent = isSigned() ? '0' : '';
  $('high').textContent = isSigned() ? '1 this object only' : '1';
}

function describeChoice() {
  const caption = $('caption'), target = current();
  if (target === null) {
    caption.textContent = photo().objects.length ? 'Click an object: why this one?' :
      'No object above the score threshold; → shows the next photograph';
    return;
  }
  const kind = {heat: 'heat map of ', signed: 'difference map of ', positive: 'positive difference map of '}[state.mode];
  caption.replaceChildren(kind, element('span', {className: 'target-name', textContent: objectName(target)}));
  if (state.mode !== 'heat') {
    caption.append(' against ', state.rival === null ? 'all others' :
      element('span', {className: 'rival-name', textContent: objectName(state.rival)}));
  }
  if (state.target !== null && state.rival === null && photo().objects.length > 1)
    caption.append('. Click a second object: why not that one?');
}

function hash() {
  const parts = {photo: state.photo, mode: state.mode, method: photo().methods[state.method].name, output: state.output};
  if (state.target !== null) parts.object = state.target;
  if (state.rival !== null) parts.against = state.rival;
  return `#${new URLSearchParams(parts)}`;
}

// A link to a view, such as a colleague may have sent.
function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const number = (name, count) => {
    const value = parseInt(given.get(name));
    return value >= 0 && value < count ? value : null;
  };
  // by default, one on which there is something to see
  openPhoto(number('photo', data.photos.length) ??
    Math.max(0, data.photos.findIndex(one => one.objects.length)));
  state.method = Math.max(0, photo().methods.findIndex(one => one.name === given.get('method')));
  state.mode = MODES.includes(given.get('mode')) ? given.get('mode') : 'heat';
  state.output = Object.hasOwn(groups(), given.get('output')) ? given.get('output') : JOINT;
  state.target = number('object', photo().objects.length);
  const rival = number('against', photo().objects.length);
  state.rival = state.target === null || rival === state.target ? null : rival;
}

let photoUrl = null;
function openPhoto(index) {
  nothing();
  Object.assign(state, {photo: index, hover: null});
  unpacked.clear();  // the maps of one photograph at a time
  axes.clear();
  shown = pointed = null;
  const {size: [width, height], objects, name, original} = photo();
  if (photoUrl) URL.revokeObjectURL(photoUrl);
  photoUrl = URL.createObjectURL(new Blob([bytes(`photo-${index}`)], {type: 'image/jpeg'}));
  Object.assign($('photo'), {src: photoUrl, alt: name});
  Object.assign($('overlay'), {width, height});
  fit();
  const scale = [width / original[0], height / original[1]];
  $('boxes').setAttribute('viewBox', `0 0 ${width} ${height}`);
  $('boxes').replaceChildren(...objects.map((one, object) => {
    const [x1, y1, x2, y2] = one.box.map((value, i) => value * scale[i % 2]);
    const box = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    box.dataset.object = object;
    for (const [key, value] of Object.entries({
      x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1)}))
      box.setAttribute(key, value);
    const label = document.createElementNS('http://www.w3.org/2000/svg', 'title');
    label.textContent = `${objectName(object)} ${one.score.toFixed(2)}`;
    box.append(label);
    return box;
  }).sort((a, b) => area(b) - area(a)));  // small ones above those that hold them
  $('objects').replaceChildren(...objects.map((one, object) => {
    const against = element('button', {type: 'button', textContent: 'vs', title: 'against the chosen object'});
    against.setAttribute('aria-label', `the chosen object against ${objectName(object)}`);
    const row = element('tr', {tabIndex: 0}, ...[
      object, one.label, one.score.toFixed(2), one.box.map(value => value.toFixed(0)).join(', ')
    ].map(text => element('td', {textContent: text})), element('td', {}, against));
    row.dataset.object = object;
    return row;
  }));
}

function area(box) {
  return box.getAttribute('width') * box.getAttribute('height');
}

// As large as the window has room for, in the photograph's shape.
function fit() {
  const {size: [width, height]} = photo(), view = $('view');
  // in a narrow window the view is as high as what is in it
  const high = matchMedia('(max-width: 900px)').matches ? 0.7 * innerHeight : view.clientHeight - 90;
  const room = [view.clientWidth - 28, Math.max(240, high)];
  const scale = Math.min(room[0] / width, room[1] / height);
  Object.assign($('stage').style, {width: `${width * scale}px`, height: `${height * scale}px`});
}

// ---- Choosing

function choose(object) {
  if (state.target === null) state.target = object;
  else if (object === state.target) nothing();
  else if (object === state.rival) dropRival();
  else compare(object);
}

// A heat map is of one object: with two, the difference is what is shown.
function compare(object) {
  state.rival = object;
  state.switched = state.switched || state.mode === 'heat';
  if (state.mode === 'heat') state.mode = 'signed';
}

function dropRival() {
  state.rival = null;
  if (state.switched) state.mode = 'heat';
  state.switched = false;
}

function nothing() {
  dropRival();
  state.target = null;
}

function select(object) {
  dropRival();
  state.target = object;
  update();
}

function useMode(mode) {
  set({mode, switched: false});
}

function step(value, by, count) {
  return value === null ? by > 0 ? 0 : count - 1 : (value + by + count) % count;
}

function nextObject(by) {
  const count = photo().objects.length;
  if (!count) return;
  select(step(state.target, by, count));
  $('objects').children[state.target].scrollIntoView({block: 'nearest'});
}

function nextRival(by) {
  const count = photo().objects.length;
  if (state.target === null || count < 2) return;
  let rival = step(state.rival, by, count);
  if (rival === state.target) rival = step(rival, by, count);
  compare(rival);
  update();
}

function nextPhoto(by) {
  openPhoto(step(state.photo, by, data.photos.length));
  keepOutput();
  $('gallery').children[state.photo].scrollIntoView({block: 'nearest'});
  update();
}

function useMethod(index) {
  state.method = index;
  keepOutput();
  update();
}

// Not every method has maps of single outputs.
function keepOutput() {
  if (!Object.hasOwn(groups(), state.output)) state.output = JOINT;
}

function next(list, value) {
  return list[(list.indexOf(value) + 1) % list.length];
}

function set(changes) {
  Object.assign(state, changes);
  update();
}

function slide(name, by) {
  set({[name]: Math.min(1, Math.max(0, Math.round(100 * (state[name] + by)) / 100))});
}

const KEYS = [
  [['ArrowRight', 'n'], '→ n', 'next photograph', () => nextPhoto(1)],
  [['ArrowLeft', 'p'], '← p', 'previous photograph', () => nextPhoto(-1)],
  [['ArrowDown', 'j'], '↓ j', 'next object', () => nextObject(1)],
  [['ArrowUp', 'k'], '↑ k', 'previous object', () => nextObject(-1)],
  [['J'], 'J', 'against the next object', () => nextRival(1)],
  [['K'], 'K', 'against the previous object', () => nextRival(-1)],
  [['1'], '1', 'heat map', () => useMode('heat')],
  [['2'], '2', 'difference map', () => useMode('signed')],
  [['3'], '3', 'positive part of the difference map', () => useMode('positive')],
  [['m'], 'm', 'next method', () => useMethod((state.method + 1) % photo().methods.length)],
  [['o'], 'o', 'next output', () => set({output: next(Object.keys(groups()), state.output)})],
  [['c'], 'c', 'next colours', () => nextColours()],
  [['+', '='], '+', 'more opaque', () => slide('opacity', 0.1)],
  [['-'], '-', 'less opaque', () => slide('opacity', -0.1)],
  [['.'], '.', 'higher threshold', () => slide('threshold', 0.05)],
  [[','], ',', 'lower threshold', () => slide('threshold', -0.05)],
  [['b'], 'b', 'boxes on and off', () => set({boxes: !state.boxes})],
  [['h'], 'h', 'map on and off', () => set({overlay: !state.overlay})],
  [['g'], 'g', 'photograph grey or in colour', () => set({colour: !state.colour})],
  [['Escape'], 'Esc', 'choose nothing', () => { nothing(); update(); }],
  [['?'], '?', 'these keys', () => $('keys').showModal()],
];

function nextColours() {
  set(isSigned() ? {diverging: next(data.diverging, state.diverging)} :
    {sequential: next(data.sequential, state.sequential)});
}

function listen() {
  const objectOf = event => {
    const one = event.target.closest('[data-object]');
    return one ? +one.dataset.object : null;
  };
  for (const id of ['boxes', 'objects']) {
    $(id).addEventListener('pointerover', event => set({hover: objectOf(event)}));
    $(id).addEventListener('pointerleave', () => set({hover: null}));
  }
  $('boxes').addEventListener('click', event => {
    const object = objectOf(event);
    if (object === null) nothing();
    else choose(object);
    update();
  });
  $('objects').addEventListener('click', event => {
    if (event.target.tagName === 'BUTTON') {
      compare(objectOf(event));
      update();
    } else select(objectOf(event));
  });
  $('objects').addEventListener('keydown', event => {
    if (event.target.tagName !== 'TR' || !['Enter', ' '].includes(event.key)) return;
    event.preventDefault();
    select(objectOf(event));
  });
  $('boxes').addEventListener('pointermove', event => {
    pointed = event;
    readOut();
  });
  $('boxes').addEventListener('pointerleave', () => {
    pointed = null;
    readOut();
  });
  $('controls').addEventListener('input', ({target}) => {
    if (target.name === 'mode') useMode(target.value);
    else if (target.name === 'output') set({output: target.value});
    else if (target.id === 'method') useMethod(+target.value);
    else if (target.id === 'colours') set({[isSigned() ? 'diverging' : 'sequential']: target.value});
    else if (target.type === 'range') set({[target.id]: +target.value});
    else set({[target.id.replace('show-', '')]: target.checked});
  });
  $('controls').addEventListener('submit', event => event.preventDefault());
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    // arrows move sliders, choices and lists where these have the focus
    if (event.key.startsWith('Arrow') && event.target.closest('input:not([type=checkbox]), select')) return;
    const found = KEYS.find(([keys]) => keys.includes(event.key));
    if (!found) return;
    event.preventDefault();
    found[3]();
  });
  addEventListener('resize', fit);
  addEventListener('hashchange', () => {
    readHash();
    update();
  });
}

// The value under the pointer, and where that is in the original photograph.
let pointed = null;  // where the pointer was last, over the photograph
function readOut() {
  $('readout').textContent = '';
  if (!pointed) return;
  const {size: [width, height], original} = photo(), place = $('stage').getBoundingClientRect();
  const x = (pointed.clientX - place.left) / place.width, y = (pointed.clientY - place.top) / place.height;
  const at = Math.min(height - 1, Math.max(0, Math.floor(y * height))) * width +
    Math.min(width - 1, Math.max(0, Math.floor(x * width)));
  $('readout').textContent = `x ${Math.floor(x * original[0])}, y ${Math.floor(y * original[1])}` +
    (shown ? `: ${shown[at].toFixed(2)}` : '');
}

function listMethods() {
  const {methods} = photo();  // those of all photographs
  $('method').replaceChildren(...methods.map((one, index) =>
    element('option', {value: index, textContent: one.name})));
  $('method-field').hidden = methods.length < 2;
}

function build() {
  $('gallery').replaceChildren(...data.photos.map((one, index) => {
    const name = one.name.split('/').pop();
    const count = one.objects.length;
    const button = element('button', {type: 'button', title: one.name},
      element('img', {src: `data:image/jpeg;base64,${one.thumbnail}`, alt: ''}),
      element('span', {textContent: name}),
      element('small', {textContent: `${count} object${count === 1 ? '' : 's'}`}));
    button.addEventListener('click', () => {
      openPhoto(index);
      keepOutput();
      update();
    });
    return button;
  }));
  $('key-list').replaceChildren(...KEYS.flatMap(([, keys, help]) => [
    element('dt', {}, ...keys.split(' ').flatMap(key => [element('kbd', {textContent: key}), ' '])),
    element('dd', {textContent: help})]));
  for (const id of ['keys', 'settings'])
    $(`open-${id}`).addEventListener('click', () => $(id).showModal());
  $('setting-list').replaceChildren(...Object.entries(data.settings).flatMap(([name, value]) => [
    element('dt', {textContent: name}), element('dd', {textContent: value})]));
}

build();
if (data.photos.length) {
  listMethods();
  readHash();
  listen();
  update();
} else $('caption').textContent = 'No image could be explained; the settings say why.';
