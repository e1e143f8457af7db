// Panels: each shows the open photograph by one detector and method, and has an
// object of its own.
const SAME = 0.5;  // IoU of two boxes of one object
const NEAR = 5;  // pixels of the screen between two clicks at one place
const MODES = ['heat', 'signed', 'positive', 'evidence', 'common'];
const panels = Array.from({length: 4}, (_, index) => ({
  index, at: `-${index}`, detector: 0, method: 0, mode: 'heat', output: JOINT, target: null, rival: null,
  before: null,  // the mode that was left for one of two objects, since two are chosen
  shown: null,  // the values that the overlay shows, one a pixel
}));
const state = {
  photo: 0, count: 1, active: 0,
  hover: null,  // the detector and the object under the pointer
  together: true,  // whether what is chosen in a panel is chosen in all
  boxes: true,
  labels: null,  // of all boxes; until people say so, where there are few
  ...LOOK,
};

function photo() {
  return data.photos[state.photo];
}

function active() {
  return panels[state.active];
}

function openPanels() {
  return panels.slice(0, state.count);
}

function detector({detector: index}) {
  return photo().detectors[index];
}

function objects(panel) {
  return detector(panel).objects;
}

function method(panel) {
  return detector(panel).methods[panel.method];
}

function groups(panel) {
  return method(panel).groups;
}

// What speaks for the objects and what against, of methods that were asked for it.
function evidence(panel) {
  return method(panel).evidence;
}

function isEvidence({mode}) {
  return mode === 'evidence';
}

function isSigned(panel) {
  return panel.mode === 'signed' || isEvidence(panel);
}

function modes(panel) {
  return MODES.filter(mode => mode === 'evidence' ? evidence(panel) : mode !== 'common' || panel.rival !== null);
}

function objectName(panel, index) {
  return `${index} ${objects(panel)[index].label}`;
}

// The object whose map is shown: the chosen one, or the one under the pointer.
function current(panel) {
  return panel.target ?? hovered(panel);
}

function hovered(panel) {
  return state.hover && counterpart(state.hover.detector, state.hover.object, panel.detector);
}

// ---- The same object by another detector

function overlap(a, b) {
  const side = (from, to) => Math.max(0, Math.min(a[to], b[to]) - Math.max(a[from], b[from]));
  const size = box => (box[2] - box[0]) * (box[3] - box[1]);
  const shared = side(0, 2) * side(1, 3);
  return shared / (size(a) + size(b) - shared);
}

// The object of a detector that is one of another's: of the same class, and
// where they overlap most; null for none.
function counterpart(from, object, to) {
  if (object === null || from === to) return object;
  const {detectors} = photo(), {label, box} = detectors[from].objects[object];
  let best = null, most = SAME;
  detectors[to].objects.forEach((one, index) => {
    const share = one.label === label ? overlap(box, one.box) : 0;
    if (share > most || share === most && best === null) [best, most] = [index, share];
  });
  return best;
}

// ---- Choosing

// Some maps are of one object: with two, the difference is what is shown.
function compare(panel, object) {
  panel.rival = object;
  if (['heat', 'evidence'].includes(panel.mode)) Object.assign(panel, {before: panel.mode, mode: 'signed'});
}

function dropRival(panel) {
  const mode = panel.before ?? panel.mode;
  Object.assign(panel, {rival: null, mode: mode === 'common' ? 'heat' : mode, before: null});
}

// Choose an object, and another one that it is compared with; null for none.
function choose(panel, target, rival = null) {
  chooseIn(panel, target, rival);
  for (const other of state.together ? openPanels() : [])
    if (other !== panel)
      chooseIn(other, ...[target, rival].map(object => counterpart(panel.detector, object, other.detector)));
  update();
}

function chooseIn(panel, target, rival) {
  panel.target = target;
  if (target === null || rival === null || rival === target) dropRival(panel);
  else compare(panel, rival);
}

function nextObject(by) {
  const panel = active(), count = objects(panel).length;
  if (!count) return;
  choose(panel, step(panel.target, by, count));
  showObject(panel.target);
}

function nextRival(by) {
  const panel = active(), count = objects(panel).length;
  if (panel.target === null || count < 2) return;
  let rival = step(panel.rival, by, count);
  if (rival === panel.target) rival = step(rival, by, count);
  choose(panel, panel.target, rival);
}

// ---- Clicks

let clicked = null;  // the last click: where, what it chose among, and what it left chosen

// What clicks at one place choose, one after the other, of the objects that are
// there, small ones first; null for none. The first click on what is chosen
// already drops it.
function choicesOf({target, rival}, found, isShifted) {
  const after = (list, chosen) => list.length && list[0] === chosen ? [null, ...list.slice(1), chosen] : [...list, null];
  if (target === null || !isShifted && (!found.length || found[0] === target))
    return {role: 'target', choices: after(found, target)};
  return {role: 'rival', choices: after(found.filter(object => object !== target), rival)};
}

// A click at a point of the picture; `scale` is how large its pixels are on the screen.
function clickAt(panel, point, found, scale, isShifted) {
  const isAgain = clicked && clicked.panel === panel && clicked.isShifted === isShifted &&
    clicked.target === panel.target && clicked.rival === panel.rival && clicked.photo === state.photo &&
    Math.hypot(point.x - clicked.point.x, point.y - clicked.point.y) * scale <= NEAR;
  if (isAgain) clicked.at++;
  else clicked = {panel, photo: state.photo, point, isShifted, at: 0, ...choicesOf(panel, found, isShifted)};
  const {role, choices, at} = clicked, object = choices[at % choices.length];
  if (role === 'target') choose(panel, object);
  else choose(panel, panel.target, object);
  Object.assign(clicked, {target: panel.target, rival: panel.rival});
}

// ---- What a panel shows

function useMode(mode) {
  const panel = active();
  if (!modes(panel).includes(mode)) return;
  Object.assign(panel, {mode, before: mode === 'common' ? panel.before ?? panel.mode : null});
  update();
}

function useMethod(index) {
  active().method = index;
  keepToMethod(active());
  update();
}

// The same method of another detector, and its find of the same object.
function useDetector(index) {
  const panel = active();
  const chosen = [panel.target, panel.rival].map(object => counterpart(panel.detector, object, index));
  useSource(panel, photo().detectors[index].name, method(panel).name);
  chooseIn(panel, ...chosen);
  update();
}

// A detector and a method by their names, or the first where there is none of that name.
function useSource(panel, detectorName, methodName) {
  const named = (list, name) => Math.max(0, list.findIndex(one => one.name === name));
  panel.detector = named(photo().detectors, detectorName);
  panel.method = named(detector(panel).methods, methodName);
  keepToMethod(panel);
}

// Not every method has maps of single outputs, or was asked for both sides.
function keepToMethod(panel) {
  if (!Object.hasOwn(groups(panel), panel.output)) panel.output = JOINT;
  for (const name of ['mode', 'before'])
    if (panel[name] === 'evidence' && !evidence(panel)) panel[name] = 'heat';
}

function nextOutput() {
  const panel = active();
  if (isEvidence(panel)) return;
  panel.output = next(Object.keys(groups(panel)), panel.output);
  update();
}

// New panels show what the active one does.
function usePanels(count) {
  const {detector, method, mode, output, target, rival, before} = active();
  for (const panel of panels.slice(state.count, count))
    Object.assign(panel, {detector, method, mode, output, target, rival, before});
  Object.assign(state, {count, active: Math.min(state.active, count - 1)});
  update();
}

function activate(index) {
  if (index !== state.active) set({active: index});
}

// Have a panel for each method, or each detector, of the active panel's object.
// More than there are panels come in turn.
function compareAll(kind) {
  const panel = {...active()}, {target, rival, mode, before, output} = panel;
  const list = kind === 'method' ? detector(panel).methods : photo().detectors;
  const first = state.count === 1 || list.length <= panels.length ? 0 : panels[state.count - 1][kind] + 1;
  state.count = Math.min(panels.length, list.length);
  openPanels().forEach((one, place) => {
    Object.assign(one, {mode, before, output});
    const names = {detector: detector(panel).name, method: method(panel).name};
    names[kind] = list[(first + place) % list.length].name;
    useSource(one, names.detector, names.method);
    chooseIn(one, ...[target, rival].map(object => counterpart(panel.detector, object, one.detector)));
  });
  state.active = Math.min(state.active, state.count - 1);
  update();
}
