// The address: a link to a view, such as a colleague may have sent.

// Of the first panel, names stand alone; those of others begin with its number.
function nameIn(panel, name) {
  return panel.index ? `${panel.index + 1}.${name}` : name;
}

function addressOf(panel) {
  const {mode, output, target, rival} = panel;
  const parts = {
    ...photo().detectors.length > 1 ? {detector: detector(panel).name} : {}, mode, method: method(panel).name, output,
  };
  if (target !== null) parts.object = target;
  if (rival !== null) parts.against = rival;
  return Object.entries(parts).map(([name, value]) => [nameIn(panel, name), value]);
}

// What else is not as it is by default.
const USUAL = {...state};
const REMEMBERED = ['together', 'boxes', 'labels', ...Object.keys(LOOK)];

// What is chosen, and with it how it is looked at.
function choiceParts() {
  const several = state.count > 1 ? [['panels', state.count], ['active', state.active + 1]] : [];
  return [['photo', state.photo], ...openPanels().flatMap(addressOf), ...several];
}

function hash() {
  const parts = choiceParts();
  for (const name of REMEMBERED)
    if (state[name] !== USUAL[name]) parts.push([name, state[name]]);
  if (view.zoom > 1) parts.push(['zoom', [view.zoom, view.x, view.y].map(value => value.toFixed(4))]);
  return `#${new URLSearchParams([...parts, ...Object.entries(galleryHash())])}`;
}

// The address says at once what is chosen; sliders and zooming would change it
// more often than browsers allow.
let remembered = null, later = null;
function rememberView() {
  const choice = String(new URLSearchParams(choiceParts()));
  clearTimeout(later);
  if (choice === remembered) later = setTimeout(() => remember(hash()), 300);
  else remember(hash());
  remembered = choice;
}

function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const number = (name, count) => {
    const value = parseInt(given.get(name));
    return value >= 0 && value < count ? value : null;
  };
  state.count = Math.max(1, number('panels', panels.length + 1) ?? 1);
  state.active = Math.max(0, (number('active', state.count + 1) ?? 1) - 1);
  for (const name of REMEMBERED) state[name] = readLook(name, given.get(name));
  readGallery(given);
  openPhoto(number('photo', data.photos.length) ?? firstToSee());
  for (const panel of openPanels()) readPanel(panel, given, number);
  readZoom(given.get('zoom'));
  remembered = null;
}

function readLook(name, text) {
  const usual = USUAL[name];
  if (text === null) return usual;
  if (typeof usual === 'number') return +text >= 0 && +text <= 1 ? +text : usual;
  if (typeof usual === 'string') return Object.hasOwn(data.schemes, text) ? text : usual;
  return text === 'true';
}

function readZoom(text) {
  const [zoom, x, y] = (text ?? '').split(',').map(Number);
  if (zoom > 1 && x >= 0 && x <= 1 && y >= 0 && y <= 1) Object.assign(view, {zoom, x, y});
  else zoomToAll();
}

function readPanel(panel, given, number) {
  const text = name => given.get(nameIn(panel, name));
  const object = name => number(nameIn(panel, name), objects(panel).length);
  useSource(panel, text('detector'), text('method'));
  panel.output = Object.hasOwn(groups(panel), text('output')) ? text('output') : JOINT;
  panel.target = object('object');
  const rival = object('against');
  panel.rival = panel.target === null || rival === panel.target ? null : rival;
  panel.before = null;
  const mode = text('mode');  // by default what was asked for
  panel.mode = modes(panel).includes(mode) ? mode : evidence(panel) && mode !== 'common' ? 'evidence' : 'heat';
}
