// The page: what is shown of what is chosen, and what people do.

// The maps of the open photograph, unpacked once.
const unpacked = new Map();
function unpack(panel) {
  const [kind, described] = isEvidence(panel) ? ['evidence', evidence(panel)] : ['maps', method(panel)];
  const key = `${kind}-${state.photo}-${panel.detector}-${panel.method}`;
  if (!unpacked.has(key)) unpacked.set(key, unpackMaps(described, bytes(key)));
  return unpacked.get(key);
}

// ---- The maps

// What a panel's values are of; null where it shows none.
function mapOf(panel) {
  const object = current(panel), {detector, method, mode, output, rival} = panel;
  return object === null || !state.overlay ? null : [state.photo, detector, method, mode, output, object, rival].join();
}

async function draw(isStale) {
  const open = openPanels(), wanted = open.map(mapOf);
  const sources = await Promise.all(open.map((panel, i) => wanted[i] && unpack(panel)));
  if (isStale()) return;
  for (const [i, panel] of open.entries()) drawMap(panel, wanted[i], sources[i]);
  readOut();
}

// Make values, and paint them, only where they are others.
function drawMap(panel, map, source) {
  const object = current(panel), {mode, output, rival} = panel;
  if (map !== panel.map) {
    panel.shown = map && (isEvidence(panel) ? signedMap(source, object) :
      valuesOf(source, output, mode, object, rival));
    panel.map = map;
  }
  const painted = [map, ...Object.keys(LOOK).map(name => state[name])].join();
  if (map !== panel.told) readAloud(panel.at, describedMap(panel));
  panel.told = map;
  if (painted !== panel.painted) paint($(`overlay${panel.at}`), panel.shown, isSigned(panel));
  panel.painted = painted;
  $(`stage${panel.at}`).classList.toggle('grey', panel.shown !== null && !state.colour);
}

// A panel's map in words.
function describedMap(panel) {
  if (!panel.shown) return '';
  const object = current(panel), {mode, rival} = panel, other = rival === null ? null : objectName(panel, rival);
  const what = modeInWords(mode, objectName(panel, object), other, evidence(panel)?.meanings[object].question);
  const sides = isSigned(panel) ? ends(panel).map(text => text.replace(/^\S+ /, '')) : null;
  return `${what}: ${mapInWords(panel.shown, photo(), objects(panel)[object].box, 'its box', sides)}`;
}

const update = updater($('panels'), describe, draw);

// ---- Everything but the maps

function describe() {
  const panel = active();
  arrangePanels();
  openPanels().forEach(describePanel);
  listObjectsOf(panel);
  markObjects({target: panel.target, rival: panel.rival, hover: hovered(panel)});
  describeModes(panel);
  describeSources(panel);
  describeOutputs(panel);
  describeJoint(isJoint(panel) ? jointInWords(groups(panel), current(panel), objectName(panel, current(panel))) : null);
  describeLook();
  $('show-labels').checked = state.labels ?? objects(panel).length <= FEW;
  $('zoom').value = `${Math.round(100 * view.zoom)} %`;
  describeColours('', isSigned(panel), ...ends(panel));
  const next = hint(panel);
  $('caption').replaceChildren(...caption(panel), next && element('span', {className: 'hint', textContent: next}));
  describeWords(panel);
  markPhoto(state.photo);
  rememberView();
}

function arrangePanels() {
  for (const panel of panels) {
    const section = $(`panel${panel.at}`);
    section.hidden = panel.index >= state.count;
    section.classList.toggle('active', state.count > 1 && panel.index === state.active);
  }
  for (const button of $('counts').querySelectorAll('button'))
    button.setAttribute('aria-pressed', +button.value === state.count);
  $('panels').classList.toggle('several', state.count > 1);
  $('together').classList.toggle('unused', state.count < 2);
  fit();
}

function describePanel(panel) {
  drawBoxes(panel);
  showView(panel.at, photo().size);
  const place = placeOf($(`stage${panel.at}`), photo().size);
  showLabels($(`boxes${panel.at}`).nextElementSibling, placeLabels(labels(panel, place), place.room));
  const name = photo().detectors.length > 1 ? `${detector(panel).name} · ${method(panel).name}` : method(panel).name;
  const output = panel.output === JOINT || isEvidence(panel) ? '' : ` ${panel.output}`;
  const title = $(`title${panel.at}`);
  title.replaceChildren(element('strong', {textContent: name + output}), ' ', ...caption(panel));
  title.title = title.textContent;
}

function drawBoxes(panel) {
  const svg = $(`boxes${panel.at}`);
  rebuild(svg, `${state.photo} ${panel.detector}`, () => {
    panel.boxes = objects(panel).map(({box}) => placed(photo(), box));
    return panel.boxes.map((box, object) => {
      const shape = edgedBox(box, objects(panel)[object].outline);
      shape.dataset.object = object;
      return shape;
    }).sort((a, b) => area(b.firstChild) - area(a.firstChild));  // small ones above those that hold them
  });
  const {target, rival} = panel, hover = hovered(panel);
  for (const shape of svg.children) mark(shape, {target, rival, hover});
  // and what is chosen above all
  for (const name of ['hover', 'rival', 'target']) svg.append(...svg.getElementsByClassName(name));
  svg.classList.toggle('hidden', !state.boxes);
}

function listObjectsOf(panel) {
  const key = `${state.photo} ${panel.detector}`;
  if ($('objects').dataset.of === key) return;
  $('objects').dataset.of = key;
  listObjects(objects(panel), object => objectName(panel, object));
}

function describeModes(panel) {
  const offered = modes(panel);
  for (const input of document.getElementsByName('mode')) {
    input.checked = input.value === panel.mode;
    input.disabled = !offered.includes(input.value);
    input.parentElement.hidden = input.disabled && input.value === 'evidence';
  }
}

// The choice of the detector and its method.
function describeSources(panel) {
  for (const [name, list] of [['detector', photo().detectors], ['method', detector(panel).methods]]) {
    rebuild($(name), list.map(one => one.name).join('\n'), () => list.map((one, index) =>
      element('option', {value: index, textContent: one.name})));
    $(name).value = panel[name];
    $(`${name}-field`).hidden = list.length < 2;
    $(`compare-${name}s`).hidden = list.length < 2;
  }
}

// What a signed map is below and above zero, in words.
function ends(panel) {
  const {below, above} = !isEvidence(panel) ?
    {below: panel.rival === null ? 'others only' : 'the other only', above: 'this object only'} :
    evidence(panel).meanings[current(panel)] ?? {below: 'against', above: 'for'};
  return [`−1 ${below}`, `1 ${above}`];
}

// Whether the map of all outputs joined is shown, of an object.
function isJoint(panel) {
  return current(panel) !== null && panel.output === JOINT && !isEvidence(panel);
}

function describeOutputs(panel) {
  const all = groups(panel), names = Object.keys(all), field = $('outputs');
  field.hidden = names.length < 2 || isEvidence(panel);  // both sides are of all joined
  rebuild(field, names.join(), () => [field.firstElementChild, ...names.map(name => element('label', {},
    element('input', {type: 'radio', name: 'output', value: name}), ` ${name === JOINT ? 'all joined' : name} `,
    element('small', {title: 'its highest point, against that of all joined'})))]);
  const object = current(panel);
  for (const label of field.querySelectorAll('label')) {
    const [input, share] = label.children, name = input.value;
    input.checked = name === panel.output;
    share.textContent = object === null || name === JOINT ? '' :
      `${Math.round(100 * all[name][object].peak / (all[JOINT][object].peak || 1))} %`;
  }
}

// What words count for the object of a panel, or for one that stands for it.
function wordsOf(panel) {
  return method(panel).words?.[current(panel) ?? 0];
}

function describeWords(panel) {
  const object = current(panel), shown = wordsOf(panel);
  showWords(shown, shown && objectName(panel, object ?? 0), object !== null);
}

// What a panel shows, in words.
function caption(panel) {
  const object = current(panel), {mode, rival} = panel;
  const named = (index, className, of = panel) => element('span', {className, textContent: objectName(of, index)});
  if (object === null) {
    const {target} = active();
    return state.together && target !== null ? ['does not find ', named(target, 'target-name', active())] : [];
  }
  const target = named(object, 'target-name'), other = rival === null ? 'all others' : named(rival, 'rival-name');
  return {
    heat: ['heat map of ', target],
    signed: ['difference map of ', target, ' against ', other],
    positive: ['positive difference map of ', target, ' against ', other],
    evidence: [target, `: ${evidence(panel)?.meanings[object].question}`],
    common: ['what ', target, ' and ', other, ' have in common: why they are two, and not one'],
  }[mode];
}

// What can be done next.
function hint(panel) {
  const count = objects(panel).length;
  if (!count) return 'No object above the score threshold; → shows the next photograph';
  if (current(panel) === null) return 'Click an object: why this one?';
  if (panel.target === null || panel.rival !== null || count < 2) return '';
  return `. Click a second object${isEvidence(panel) ? ' for a difference map' : ': why not that one?'}`;
}

function openPhoto(index) {
  // by what they are called: not all photographs need have the same
  const names = panels.map(panel => [detector(panel).name, method(panel).name]);
  Object.assign(state, {photo: index, hover: null});
  for (const [i, panel] of panels.entries()) {
    Object.assign(panel, {map: null, shown: null, painted: null});
    useSource(panel, ...names[i]);
    chooseIn(panel, null, null);
  }
  unpacked.clear();  // the maps of one photograph at a time
  axes.clear();
  pointed = null;
  zoomToAll();
  $('panels').style.setProperty('--shape', photo().size.join(' / '));
  for (const {at} of panels) showPhoto(at, index);
}

// As many panels beside each other as show a photograph of a usual shape as
// large as can be, or nearly so: it is easier to look to and fro than up and down.
function fit() {
  const {clientWidth, clientHeight} = $('panels');
  const scale = columns => Math.min(clientWidth / columns / 4, clientHeight / Math.ceil(state.count / columns) / 3);
  const columns = openPanels().map((_, index) => index + 1), most = Math.max(...columns.map(scale));
  $('panels').style.setProperty('--columns', columns.findLast(count => scale(count) >= 0.9 * most));
}

// ---- What people do

function usePhoto(index) {
  openPhoto(index);
  update();
}

function nextPhoto(by) {
  const index = neighbour(state.photo, by);
  if (index !== state.photo) usePhoto(index);
}

// The stage of the active panel is as large as all others.
function changeView(zoom, ...values) {
  zoom($(`stage${active().at}`), photo().size, ...values);
  update();
}

function zoomToChosen() {
  const {boxes} = active(), chosen = [current(active()), active().rival].filter(object => object !== null);
  if (view.zoom > 1 || !chosen.length) changeView(zoomToAll);
  else changeView(zoomToPart, hull(chosen.map(object => boxes[object])));
}

function toggleComparison(kind) {
  if (state.count > 1) usePanels(1);
  else compareAll(kind);
}

const KEYS = [
  [[], 'click', 'choose an object, and then another one to compare with; further clicks at one place go through ' +
    'all objects there'],
  [[], 'Shift+click', 'compare with the object there'],
  [[], 'wheel', 'zoom; a drag moves the zoomed photograph, a double click beside the objects shows all of it'],
  [['ArrowRight', 'n'], '→ n', 'next photograph', () => nextPhoto(1)],
  [['ArrowLeft', 'p'], '← p', 'previous photograph', () => nextPhoto(-1)],
  [['ArrowDown', 'j'], '↓ j', 'next object', () => nextObject(1)],
  [['ArrowUp', 'k'], '↑ k', 'previous object', () => nextObject(-1)],
  [['J'], 'J', 'against the next object', () => nextRival(1)],
  [['K'], 'K', 'against the previous object', () => nextRival(-1)],
  [['1'], '1', 'heat map', () => useMode('heat')],
  [['2'], '2', 'difference map', () => useMode('signed')],
  [['3'], '3', 'positive part of the difference map', () => useMode('positive')],
  ...data.evidence || data.photos.some(({detectors}) => detectors.some(({methods}) => methods.some(one => one.evidence))) ?
    [[['4'], '4', 'what speaks for it and what against', () => useMode('evidence')]] : [],
  [['5'], '5', 'what both objects have in common', () => useMode('common')],
  [['m'], 'm', 'next method', () => useMethod((active().method + 1) % detector(active()).methods.length)],
  [['o'], 'o', 'next output', nextOutput],
  [['c'], 'c', 'next colours', nextColours],
  ...LOOK_KEYS,
  [['b'], 'b', 'boxes on and off', () => set({boxes: !state.boxes})],
  [['l'], 'l', 'labels of all boxes on and off', () => set({labels: !$('show-labels').checked})],
  ...VIEW_KEYS,
  [['z'], 'z', 'zoom to the chosen object, and back', zoomToChosen],
  [['v'], 'v', 'one panel for each method, and back', () => toggleComparison('method')],
  [['x'], 'x', 'next panel', () => activate((state.active + 1) % state.count)],
  [['y'], 'y', 'copy a link to this view', copyLink],
  [['e'], 'e', 'save this view as a PNG file', savePicture],
  [['Escape'], 'Esc', 'choose nothing', () => choose(active(), null)],
];

let pointed = null;  // where the pointer was last over a photograph, and over which
// The values under the pointer, and where that is in the original photograph.
function readOut() {
  $('readout').textContent = pointed && textAt(pointed.event, photo(), openPanels().map(panel => panel.shown),
    $(`photo${pointed.panel.at}`).getBoundingClientRect());
}

function hoverOver(detector, object) {
  if (object === null ? state.hover : state.hover?.object !== object || state.hover.detector !== detector)
    set({hover: object === null ? null : {detector, object}});
}

function listenToPanel(panel) {
  const stage = $(`stage${panel.at}`), section = $(`panel${panel.at}`);
  const meet = place => {
    const {left, top, scale} = placeOf(stage, photo().size);
    const point = {x: (place.x - left) / scale, y: (place.y - top) / scale};
    return {point, scale, found: boxesAt(panel.boxes, point, scale)};
  };
  listenToStage(stage, () => photo().size, {
    point: (place, event) => {
      pointed = place && {event, panel};
      readOut();
      const [object = null] = place ? meet(place).found : [];
      stage.classList.toggle('on-box', object !== null);
      hoverOver(panel.detector, object);
    },
    click: (place, event) => {
      activate(panel.index);
      const {point, found, scale} = meet(place);
      clickAt(panel, point, found, scale, event.shiftKey);
    },
    twice: place => {
      if (!meet(place).found.length) changeView(zoomToAll);
    },
    seen: update,
  });
  section.addEventListener('focusin', () => activate(panel.index));
}

function listen() {
  panels.forEach(listenToPanel);
  listenToObjects({
    hover: object => hoverOver(active().detector, object),
    select: object => choose(active(), object),
    compare: object => choose(active(), active().target, object),
  });
  $('controls').addEventListener('input', ({target}) => {
    if (target.name === 'mode') useMode(target.value);
    else if (target.name === 'output') {
      active().output = target.value;
      update();
    } else if (target.id === 'method') useMethod(+target.value);
    else if (target.id === 'detector') useDetector(+target.value);
    else if (target.id === 'colours') set({colours: target.value});
    else changeLook(target);
  });
  $('controls').addEventListener('submit', event => event.preventDefault());
  $('bar').addEventListener('input', ({target}) => changeLook(target));
  $('counts').addEventListener('click', ({target}) => target.value && usePanels(+target.value));
  for (const [id, act] of Object.entries({
    'compare-methods': () => compareAll('method'),
    'compare-detectors': () => compareAll('detector'),
    'zoom-in': () => changeView(zoomBy, 1.5),
    'zoom-out': () => changeView(zoomBy, 1 / 1.5),
    'zoom-all': () => changeView(zoomToAll),
    'copy-link': copyLink,
    'save-picture': savePicture,
  })) $(id).addEventListener('click', act);
  listenToKeys(KEYS);
  new ResizeObserver(update).observe($('panels'));
  addEventListener('hashchange', () => {
    readHash();
    update();
  });
}

function start() {
  readHash();
  listen();
  update();
}

// Add a photograph to the open page, or put one in the place of another, which
// is to be opened then. `texts` are what the page needs beside its description, by
// name and in base64, or promises of that.
function addPhoto(photo, texts, index = data.photos.length) {
  const isFirst = !data.photos.length;
  data.photos[index] = photo;
  for (const [name, text] of Object.entries(texts)) payloads.set(name, text);
  for (const {at} of panels) delete $(`boxes${at}`).dataset.made;  // of the other one
  delete $('objects').dataset.of;
  buildGallery(usePhoto);
  if (isFirst) start();
  else markPhoto(state.photo);
}

buildGallery(usePhoto);
buildDialogs(KEYS);
if (data.photos.length) start();
else $('caption').textContent = 'No image could be explained.';
