// The page: what is chosen, what is shown, and what people do.
const MODES = ['heat', 'signed', 'positive', 'evidence', 'common'];
const state = {
  photo: 0, target: null, rival: null, hover: null, mode: 'heat', method: 0, output: JOINT,
  boxes: true, ...LOOK,
  before: null,  // the mode that was left for one of two objects, since two are chosen
};
let shown = null;  // the values that the overlay shows, one a pixel

// The maps of the open photograph by the chosen method, unpacked once.
const unpacked = new Map();
function unpack() {
  const [kind, described] = isEvidence() ? ['evidence', evidence()] : ['maps', method()];
  const key = `${kind}-${state.photo}-${state.method}`;
  if (!unpacked.has(key)) unpacked.set(key, unpackMaps(described, bytes(key)));
  return unpacked.get(key);
}

function isEvidence() {
  return state.mode === 'evidence';
}

function isSigned() {
  return state.mode === 'signed' || isEvidence();
}

// ---- The page

function photo() {
  return data.photos[state.photo];
}

function method() {
  return photo().methods[state.method];
}

function groups() {
  return method().groups;
}

// What speaks for the objects and what against, of methods that were asked for it.
function evidence() {
  return method().evidence;
}

function modes() {
  return MODES.filter(mode => mode === 'evidence' ? evidence() : mode !== 'common' || state.rival !== null);
}

function objectName(index) {
  const one = photo().objects[index];
  return `${index} ${one.label}`;
}

// The object whose map is shown: the chosen one, or the one under the pointer.
function current() {
  return state.target ?? state.hover;
}

async function draw(isStale) {
  const target = current();
  const source = target === null || !state.overlay ? null : await unpack();
  if (isStale()) return;
  shown = source && (isEvidence() ? signedMap(source, target) :
    valuesOf(source, state.output, state.mode, target, state.rival));
  paint($('overlay'), shown, isSigned());
  readOut();
  $('stage').classList.toggle('grey', shown !== null && !state.colour);
}

const update = updater($('stage'), describe, draw);

// Everything but the overlay.
function describe() {
  for (const box of $('boxes').children) mark(box, state);
  markObjects(state);
  $('boxes').classList.toggle('hidden', !state.boxes);
  for (const input of document.getElementsByName('mode')) {
    input.checked = input.value === state.mode;
    input.disabled = !modes().includes(input.value);
    input.parentElement.hidden = input.disabled && input.value === 'evidence';
  }
  $('method').value = state.method;
  describeOutputs();
  describeLook();
  const [below, above] = ends();
  describeColours('', isSigned(), `−1 ${below}`, `1 ${above}`);
  describeChoice();
  markPhoto(state.photo);
  remember(hash());
}

// What a signed map is below and above zero, in words.
function ends() {
  if (!isEvidence()) return [state.rival === null ? 'others only' : 'the other only', 'this object only'];
  const {below, above} = evidence().meanings[current()] ?? {below: 'against', above: 'for'};
  return [below, above];
}

function describeOutputs() {
  const names = Object.keys(groups()), field = $('outputs');
  field.hidden = names.length < 2 || isEvidence();  // both sides are of all joined
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

function describeChoice() {
  const caption = $('caption'), target = current();
  if (target === null) {
    caption.textContent = photo().objects.length ? 'Click an object: why this one?' :
      'No object above the score threshold; → shows the next photograph';
    return;
  }
  const kind = {
    heat: 'heat map of ', signed: 'difference map of ', positive: 'positive difference map of ', evidence: '',
    common: 'what ',
  }[state.mode];
  const rival = state.rival === null ? 'all others' :
    element('span', {className: 'rival-name', textContent: objectName(state.rival)});
  caption.replaceChildren(kind, element('span', {className: 'target-name', textContent: objectName(target)}));
  if (isEvidence()) caption.append(`: ${evidence().meanings[target].question}`);
  else if (state.mode === 'common')
    caption.append(' and ', rival, ' have in common: why they are two, and not one');
  else if (state.mode !== 'heat') caption.append(' against ', rival);
  if (state.target !== null && state.rival === null && photo().objects.length > 1)
    caption.append(`. Click a second object${isEvidence() ? ' for a difference map' : ': why not that one?'}`);
}

function hash() {
  const parts = {photo: state.photo, mode: state.mode, method: method().name, output: state.output};
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
  state.output = Object.hasOwn(groups(), given.get('output')) ? given.get('output') : JOINT;
  state.target = number('object', photo().objects.length);
  const rival = number('against', photo().objects.length);
  state.rival = state.target === null || rival === state.target ? null : rival;
  const mode = given.get('mode');  // by default what was asked for
  state.mode = modes().includes(mode) ? mode : evidence() && mode !== 'common' ? 'evidence' : 'heat';
}

function openPhoto(index) {
  nothing();
  Object.assign(state, {photo: index, hover: null});
  unpacked.clear();  // the maps of one photograph at a time
  axes.clear();
  shown = pointed = null;
  const {objects} = photo();
  showPhoto('', index);
  fit();
  $('boxes').replaceChildren(...objects.map((one, object) => {
    const box = boxShape(photo(), one.box, `${objectName(object)} ${one.score.toFixed(2)}`);
    box.dataset.object = object;
    return box;
  }).sort((a, b) => area(b) - area(a)));  // small ones above those that hold them
  listObjects(objects, objectName);
}

// As large as the window has room for, in the photograph's shape.
function fit() {
  const {size} = photo(), view = $('view');
  const high = isNarrow() ? 0.7 * innerHeight : view.clientHeight - 90;
  const room = [view.clientWidth - 28, high];
  fitInto($('stage'), size, room);
}

// ---- Choosing

function choose(object) {
  if (state.target === null) state.target = object;
  else if (object === state.target) nothing();
  else if (object === state.rival) dropRival();
  else compare(object);
}

// Some maps are of one object: with two, the difference is what is shown.
function compare(object) {
  state.rival = object;
  if (['heat', 'evidence'].includes(state.mode)) Object.assign(state, {before: state.mode, mode: 'signed'});
}

function dropRival() {
  const mode = state.before ?? state.mode;
  Object.assign(state, {rival: null, mode: mode === 'common' ? 'heat' : mode, before: null});
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
  if (modes().includes(mode)) set({mode, before: mode === 'common' ? state.before ?? state.mode : null});
}

function nextObject(by) {
  const count = photo().objects.length;
  if (!count) return;
  select(step(state.target, by, count));
  showObject(state.target);
}

function nextRival(by) {
  const count = photo().objects.length;
  if (state.target === null || count < 2) return;
  let rival = step(state.rival, by, count);
  if (rival === state.target) rival = step(rival, by, count);
  compare(rival);
  update();
}

function usePhoto(index) {
  openPhoto(index);
  keepToMethod();
  update();
}

function useMethod(index) {
  state.method = index;
  keepToMethod();
  update();
}

// Not every method has maps of single outputs, or was asked for both sides.
function keepToMethod() {
  if (!Object.hasOwn(groups(), state.output)) state.output = JOINT;
  for (const name of ['mode', 'before'])
    if (state[name] === 'evidence' && !evidence()) state[name] = 'heat';
}

function nextOutput() {
  if (!isEvidence()) set({output: next(Object.keys(groups()), state.output)});
}

const KEYS = [
  [['ArrowRight', 'n'], '→ n', 'next photograph', () => usePhoto(neighbour(state.photo, 1))],
  [['ArrowLeft', 'p'], '← p', 'previous photograph', () => usePhoto(neighbour(state.photo, -1))],
  [['ArrowDown', 'j'], '↓ j', 'next object', () => nextObject(1)],
  [['ArrowUp', 'k'], '↑ k', 'previous object', () => nextObject(-1)],
  [['J'], 'J', 'against the next object', () => nextRival(1)],
  [['K'], 'K', 'against the previous object', () => nextRival(-1)],
  [['1'], '1', 'heat map', () => useMode('heat')],
  [['2'], '2', 'difference map', () => useMode('signed')],
  [['3'], '3', 'positive part of the difference map', () => useMode('positive')],
  ...data.photos.some(({methods}) => methods.some(one => one.evidence)) ?
    [[['4'], '4', 'what speaks for it and what against', () => useMode('evidence')]] : [],
  [['5'], '5', 'what both objects have in common', () => useMode('common')],
  [['m'], 'm', 'next method', () => useMethod((state.method + 1) % photo().methods.length)],
  [['o'], 'o', 'next output', nextOutput],
  [['c'], 'c', 'next colours', nextColours],
  ...LOOK_KEYS,
  [['b'], 'b', 'boxes on and off', () => set({boxes: !state.boxes})],
  [['Escape'], 'Esc', 'choose nothing', () => { nothing(); update(); }],
];

function listen() {
  $('boxes').addEventListener('pointerover', event => set({hover: objectOf(event)}));
  $('boxes').addEventListener('pointerleave', () => set({hover: null}));
  $('boxes').addEventListener('click', event => {
    const object = objectOf(event);
    if (object === null) nothing();
    else choose(object);
    update();
  });
  listenToObjects({
    hover: object => set({hover: object}),
    select,
    compare: object => {
      compare(object);
      update();
    },
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
    else if (target.id === 'colours') set({colours: target.value});
    else changeLook(target);
  });
  $('controls').addEventListener('submit', event => event.preventDefault());
  listenToKeys(KEYS);
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
  $('readout').textContent = textAt(pointed, photo(), shown, $('stage').getBoundingClientRect());
}

function listMethods() {
  const {methods} = photo();  // those of all photographs
  $('method').replaceChildren(...methods.map((one, index) =>
    element('option', {value: index, textContent: one.name})));
  $('method-field').hidden = methods.length < 2;
}

function build() {
  buildGallery(usePhoto);
  buildDialogs(KEYS);
}

build();
if (data.photos.length) {
  listMethods();
  readHash();
  listen();
  update();
} else $('caption').textContent = 'No image could be explained; the settings say why.';
