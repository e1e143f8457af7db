// The page of errors: which are listed, which is chosen, and what people do.
const errors = data.photos.flatMap((one, photo) => one.errors.map((error, place) => ({...error, photo, place})));
const panels = [...document.querySelectorAll('.panel')].map((_, index) => ({at: `-${index}`, index, shown: null}));
const state = {
  error: null, views: panels.map(() => 0), objects: true, detections: true, zoom: false, ...LOOK,
};
const filter = {without: new Set(), name: '', by: '', reason: '', from: 0, to: 1, order: 'cost'};
let zoomWanted = null;  // until people say so, errors on small objects are zoomed to
let listed = [];  // the errors that pass the filters, in their order

function error() {
  return errors[state.error];
}

function photo() {
  return data.photos[error().photo];
}

function finding({index}) {
  return error().findings[index];
}

function viewOf(panel) {
  return finding(panel).views[state.views[panel.index]];
}

function isSigned(panel) {
  return (viewOf(panel)?.kind ?? 'heat') !== 'heat';
}

// ---- The map

// The maps of the photograph, by what they are of and the detector, unpacked once.
const unpacked = new Map();
function unpack(kind, detector) {
  const key = `${kind}-${error().photo}-${detector}`;
  if (!unpacked.has(key)) unpacked.set(key, unpackMaps(photo().maps[detector][kind], bytes(key)));
  return unpacked.get(key);
}

async function valuesOfView({kind, row, rival}, detector) {
  if (kind === 'signed') return signedMap(await unpack(kind, detector), row);
  return valuesOf(await unpack('heat', detector), JOINT, kind === 'heat' ? 'heat' : 'signed', row, rival);
}

async function draw(isStale) {
  const found = await Promise.all(panels.map(panel =>
    state.overlay && viewOf(panel) ? valuesOfView(viewOf(panel), panel.index) : null));
  if (isStale()) return;
  for (const panel of panels) {
    panel.shown = found[panel.index];
    paint($(`overlay${panel.at}`), panel.shown, isSigned(panel));
    $(`stage${panel.at}`).classList.toggle('grey', panel.shown !== null && !state.colour);
    readAloud(panel.at, describedPanel(panel));
  }
  readOut();
}

const update = updater($('panels'), describe, draw);

// ---- Words

function classes({true: annotated, found}) {
  return annotated && found && annotated !== found ? `${annotated} → ${found}` : annotated || found;
}

function points(cost) {
  return `${cost.toFixed(cost < 0.1 ? 3 : 2)} AP`;
}

function scoreOf({score}) {
  return score === null ? 'no score' : `score ${score.toFixed(2)}`;
}

// What a detector says, and its map, for people who do not see it.
function describedPanel(panel) {
  const {text, box} = finding(panel), chosen = viewOf(panel), around = box ?? error().truth;
  if (!panel.shown || !around) return text;
  const ends = isSigned(panel) ? [chosen.below, chosen.above] : null;
  const its = box ? 'the detection’s box' : 'the annotated box';
  return `${text}. ${chosen.text}: ${mapInWords(panel.shown, photo(), around, its, ends)}`;
}

// Everything but the overlays.
function describe() {
  describeLook();
  describeCaption();
  for (const [number, option] of options.entries()) option.setAttribute('aria-selected', number === state.error);
  reach(options, options[listed.includes(state.error) ? state.error : listed[0]]);
  for (const panel of panels) {
    $(`finding${panel.at}`).textContent = finding(panel).text;
    describeViews(panel);
    describeBoxes(panel);
  }
  fit();
  remember(hash());
}

function describeCaption() {
  const one = error(), caption = $('caption');
  const details = [scoreOf(one), `IoU ${one.iou.toFixed(2)}`, `costs ${points(one.cost)}`, photo().name];
  rebuild(caption, String(state.error), () => [
    element('b', {textContent: called(one)}), ` ${classes(one)}${one.reason && `, ${one.reason}`}`,
    element('small', {textContent: details.join(' · ')})]);
}

function describeViews(panel) {
  const {views} = finding(panel), field = $(`views${panel.at}`), chosen = viewOf(panel);
  rebuild(field, String(state.error), () => [field.firstElementChild, ...views.map(({text}, index) =>
    element('label', {}, element('input', {type: 'radio', name: `view${panel.at}`, value: index}), ` ${text}`)),
  ...views.length ? [] : ['no map: there is nothing that it could be of']]);
  for (const input of field.querySelectorAll('input')) input.checked = +input.value === state.views[panel.index];
  $(`scale${panel.at}`).hidden = !chosen;
  if (chosen) describeColours(panel.at, isSigned(panel), `−1 ${chosen.below}`, `1 ${chosen.above}`);
}

// ---- Boxes

// Those that belong to errors, or to none, and above them the error's own.
function describeBoxes(panel) {
  const {objects, detections} = photo(), svg = $(`boxes${panel.at}`), own = ownBoxes(panel);
  rebuild(svg, [state.error, state.objects, state.detections].join(), () => [
    ...[
      ...state.objects ? objects[panel.index].map(one =>
        plainBox(one, 'object', `annotated: ${one.label}, ${one.state}`)) : [],
      ...state.detections ? detections[panel.index].map(one =>
        plainBox(one, 'detection', `${one.label} ${one.score.toFixed(2)}, ${one.state}`)) : [],
    ].sort((a, b) => area(b) - area(a)),  // small ones above those that hold them
    ...own.map(({box, role, text}) => marked(boxShape(photo(), box, text), 'chosen', role)),
  ]);
  const tags = svg.nextElementSibling;
  rebuild(tags, svg.dataset.made, () => own.map(({role, text}) => element('span', {className: role, textContent: text})));
}

function marked(shape, ...names) {
  shape.classList.add(...names);
  return shape;
}

function plainBox({box, state: kind, errors: places}, role, title) {
  const shape = marked(boxShape(photo(), box, title), role, kind);
  if (places.length) shape.dataset.errors = places;
  return shape;
}

// The boxes of the error itself, in the order in which they are painted: dashes
// last, since what is solid would hide them.
function ownBoxes(panel) {
  const one = error(), {box, rival, text, name} = finding(panel);
  return [
    {role: 'truth', box: state.objects && one.truth, text: `annotated: ${one.true}`},
    {role: 'box', box: state.detections && box, text: name || text},
    {role: 'rival', box: state.detections && rival, text: 'compared with'},
  ].filter(({box: there}) => there);
}

// ---- Zoom

// The boxes of all detectors, so that all show the same part of the picture.
function boxesOf(one, roles) {
  return [one.truth, ...one.findings.flatMap(found => roles.map(role => found[role]))]
    .filter(Boolean).map(box => placed(data.photos[one.photo], box));
}

function isSmall(one) {
  const boxes = boxesOf(one, ['box']), {width, height} = hull(boxes);
  return boxes.length > 0 && Math.max(width, height) < Math.max(...data.photos[one.photo].size) / 4;
}

let aimedAt = null;  // what the view was last moved to: people may move it on

function fit() {
  const {size} = photo(), aim = `${state.error} ${state.zoom}`, boxes = boxesOf(error(), ['box', 'rival']);
  for (const {at} of panels) {
    const stage = $(`stage${at}`), room = stage.parentElement;
    fitInto(stage, size, [room.clientWidth, isNarrow() ? 0.7 * innerHeight : room.clientHeight]);
  }
  if (aim !== aimedAt && state.zoom && boxes.length) zoomToPart($(`stage${panels[0].at}`), size, hull(boxes));
  else if (aim !== aimedAt) zoomToAll();
  aimedAt = aim;
  for (const panel of panels) {
    showView(panel.at, size);
    placeTags(panel);
  }
}

// All stages are of one size.
function changeView(zoom, ...values) {
  zoom($(`stage${panels[0].at}`), photo().size, ...values);
  update();
}

// Each at another corner of its box, so that they do not cover each other.
function placeTags(panel) {
  const stage = $(`stage${panel.at}`), tags = $(`boxes${panel.at}`).nextElementSibling;
  const seen = placeOf(stage, photo().size);
  for (const [index, {role, box}] of ownBoxes(panel).entries()) {
    const tag = tags.children[index], {x, y, width, height} = placed(photo(), box);
    const left = seen.left + (role === 'rival' ? x + width : x) * seen.scale - (role === 'rival' ? tag.offsetWidth : 0);
    const top = seen.top + {
      truth: y * seen.scale - tag.offsetHeight - 3,
      box: (y + height) * seen.scale + 3,
      rival: y * seen.scale + 3,  // inside: it is often at the annotated box
    }[role];
    const isSeen = (start, length, whole) => start + length > 0 && start < whole;
    tag.style.visibility = isSeen(seen.left + x * seen.scale, width * seen.scale, stage.clientWidth) &&
      isSeen(seen.top + y * seen.scale, height * seen.scale, stage.clientHeight) ? '' : 'hidden';
    const within = (value, length, whole) => Math.min(whole - length, Math.max(0, value));
    tag.style.transform = `translate(${within(left, tag.offsetWidth, stage.clientWidth)}px, ` +
      `${within(top, tag.offsetHeight, stage.clientHeight)}px)`;
  }
}

// ---- The list

function passes(one, test) {
  const score = one.score ?? 0;  // that of what was never found
  return {
    kind: () => !filter.without.has(one.kind),
    name: () => !filter.name || filter.name === one.true || filter.name === one.found,
    by: () => !filter.by || filter.by === one.by,
    reason: () => !filter.reason || filter.reason === one.reason,
    score: () => filter.from <= score && score <= filter.to,
  }[test]();
}

const ORDERS = {
  cost: (a, b) => b.cost - a.cost,
  score: (a, b) => (b.score ?? -1) - (a.score ?? -1),
  photo: () => 0,  // as they were added
};

function arrange() {
  const isListed = (one, tests) => tests.every(test => passes(one, test));
  listed = [...errors.keys()].filter(number => isListed(errors[number], ['kind', 'name', 'by', 'reason', 'score']))
    .sort((a, b) => ORDERS[filter.order](errors[a], errors[b]));
  $('list').replaceChildren(...listed.map(number => options[number]));
  $('count').textContent = listed.length ? `${listed.length} of ${plural(errors.length)}` :
    `none of ${plural(errors.length)}: the filters leave nothing`;
  // how many there would be of each kind
  const others = errors.filter(one => isListed(one, ['name', 'by', 'reason', 'score']));
  for (const input of $('kinds').querySelectorAll('input'))
    input.nextElementSibling.textContent = others.filter(one => one.kind === input.value).length;
}

// What an error is called, and whose it is where two detectors are compared.
function called({kind, by}) {
  return by ? `${kind}, ${by}` : kind;
}

function plural(count) {
  return `${count} error${count === 1 ? '' : 's'}`;
}

function option(one, number) {
  const {thumbnail, name, size: [width, height]} = data.photos[one.photo], boxes = boxesOf(one, ['box']);
  const thumb = element('span', {className: 'thumb'},
    element('img', {src: `data:image/jpeg;base64,${thumbnail}`, alt: '', loading: 'lazy'}));
  if (boxes.length) {
    const {x, y, width: wide, height: high} = hull(boxes), mark = element('i');
    Object.entries({left: x / width, top: y / height, width: wide / width, height: high / height})
      .forEach(([side, share]) => { mark.style[side] = `${100 * share}%`; });
    thumb.append(mark);
  }
  const made = element('div', {title: name}, thumb,
    element('b', {textContent: called(one)}),
    element('var', {textContent: points(one.cost), title: 'points of AP that mending it alone would gain'}),
    element('span', {textContent: classes(one)}),
    element('small', {textContent: [scoreOf(one), one.reason, name.split('/').pop()].filter(Boolean).join(' · ')}));
  made.setAttribute('role', 'option');
  made.dataset.error = number;
  return made;
}

let options = [];  // of the list, by the number of their error

// ---- Choosing

function choose(number, views = []) {
  if (errors[number].photo !== errors[state.error]?.photo) {
    unpacked.clear();  // the maps of one photograph at a time
    axes.clear();
    for (const panel of panels) showPhoto(panel.at, errors[number].photo);
  }
  pointed = null;
  state.error = number;
  state.views = panels.map(panel => finding(panel).views[views[panel.index]] ? views[panel.index] : 0);
  state.zoom = zoomWanted ?? isSmall(error());
  reveal($('list'), options[number]);
  if ($('list').contains(document.activeElement)) options[number].focus({preventScroll: true});
  update();
}

function chooseListed(at) {
  if (listed.length) choose(listed[at(listed.indexOf(state.error))]);
}

function nextError(by) {
  chooseListed(at => step(at < 0 ? null : at, by, listed.length));
}

// Of all detectors that have so many.
function useView(number) {
  for (const panel of panels)
    if (finding(panel).views[number]) state.views[panel.index] = number;
  update();
}

function useZoom(zoom) {
  zoomWanted = zoom;
  set({zoom});
}

// A box may belong to several errors: clicked again, the next one of them.
function chooseBox(shape) {
  if (!shape) return;
  const first = errors.findIndex(one => one.photo === error().photo);
  const numbers = shape.dataset.errors.split(',').map(place => first + +place);
  choose(next(numbers, state.error));
}

function hash() {
  const parts = [['error', state.error], ...state.views.map(number => ['view', number])];
  return `#${new URLSearchParams(parts)}`;
}

// A link to an error, such as a colleague may have sent.
function readHash() {
  const given = new URLSearchParams(location.hash.slice(1)), number = parseInt(given.get('error'));
  const views = given.getAll('view').map(value => parseInt(value));
  if (errors[number]) choose(number, views);
  else choose(listed[0] ?? 0);
}

const KEYS = [
  [['ArrowDown', 'ArrowRight', 'j'], '↓ → j', 'next error', () => nextError(1)],
  [['ArrowUp', 'ArrowLeft', 'k'], '↑ ← k', 'previous error', () => nextError(-1)],
  [['Home'], 'Home', 'first error', () => chooseListed(() => 0)],
  [['End'], 'End', 'last error', () => chooseListed(() => listed.length - 1)],
  [[...'123456789'], '1 … 9', 'first to ninth map of the error', key => useView(key - 1)],
  [['z'], 'z', 'zoom to the error and back', () => useZoom(!state.zoom)],
  ...VIEW_KEYS,
  [['b'], 'b', 'boxes on and off', () => {
    const boxes = !(state.objects || state.detections);
    set({objects: boxes, detections: boxes});
  }],
  [['c'], 'c', 'next colours', nextColours],
  ...LOOK_KEYS,
];

// ---- What people do

let pointed = null;  // where the pointer was last over a photograph, and over which
function readOut() {
  $('readout').textContent = pointed && textAt(pointed.event, photo(), [pointed.panel.shown],
    $(`photo${pointed.panel.at}`).getBoundingClientRect());
}

function listenToFilters() {
  $('filters').addEventListener('input', ({target}) => {
    if (target.type === 'checkbox') filter.without[target.checked ? 'delete' : 'add'](target.value);
    const number = (id, otherwise) => $(id).value === '' ? otherwise : +$(id).value;
    Object.assign(filter, {
      name: $('class').value, by: $('by').value, reason: $('reason').value, order: $('order').value,
      from: number('score-from', 0), to: number('score-to', 1),
    });
    arrange();
    update();
  });
  $('list').addEventListener('click', ({target}) => {
    const made = target.closest('[data-error]');
    if (!made) return;
    choose(+made.dataset.error);
    made.focus({preventScroll: true});
  });
}

function listenToPanel(panel) {
  const errorAt = ({target}) => target.closest('[data-errors]');
  listenToStage($(`stage${panel.at}`), () => photo().size, {
    point: (place, event) => {
      pointed = place && {event, panel};
      readOut();
    },
    click: (_, event) => chooseBox(errorAt(event)),
    twice: (_, event) => errorAt(event) || changeView(zoomToAll),
    seen: update,
  });
  $(`views${panel.at}`).addEventListener('input', ({target}) => {
    state.views[panel.index] = +target.value;
    update();
  });
  $(`colours${panel.at}`).addEventListener('input', ({target}) => set({colours: target.value}));
}

function listen() {
  listenToFilters();
  panels.forEach(listenToPanel);
  $('controls').addEventListener('input', ({target}) => {
    if (target.id === 'show-zoom') useZoom(target.checked);
    else changeLook(target);
  });
  for (const form of document.querySelectorAll('main form'))
    form.addEventListener('submit', event => event.preventDefault());
  listenToKeys(KEYS);
  addEventListener('resize', fit);
  addEventListener('hashchange', readHash);
}

function build() {
  options = errors.map(option);
  const distinct = values => [...new Set(values)].filter(Boolean).sort();
  $('kinds').append(...distinct(errors.map(one => one.kind)).map(kind => element('label', {},
    element('input', {type: 'checkbox', value: kind, checked: true}), ` ${kind} `, element('small'))));
  for (const [id, all, names] of [
    ['class', 'all classes', errors.flatMap(one => [one.true, one.found])],
    ['by', 'of either detector', errors.map(one => one.by)],
    ['reason', 'all reasons', errors.map(one => one.reason)],
  ]) $(id).replaceChildren(element('option', {value: '', textContent: all}),
    ...distinct(names).map(name => element('option', {value: name, textContent: name})));
  $('by').hidden = panels.length < 2;
  arrange();
}

function saySo() {
  document.querySelector('main').classList.add('empty');
  $('caption').textContent = 'There are no errors to show.';
}

buildDialogs(KEYS);
if (errors.length) {
  build();
  listen();
  readHash();
} else saySo();
