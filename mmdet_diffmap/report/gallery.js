// The gallery: which photographs are listed, in which order, and which is next.
const ANY = {find: '', class: '', from: 0, sort: 'given'};
const wanted = {...ANY};
let listed = [];  // the photographs that are listed, by their index, in order

function fileName({name}) {
  return name.split('/').pop();
}

// Those of all detectors of the page.
function objectsIn(photo) {
  return photo.detectors.flatMap(({objects}) => objects);
}

function isFilteredByObjects() {
  return wanted.class !== '' || wanted.from > 0;
}

// Whether the gallery looks for photographs with such an object.
function isWanted({label, score}) {
  return (!wanted.class || label === wanted.class) && score >= wanted.from;
}

function scoresOf(photo) {
  return objectsIn(photo).filter(isWanted).map(one => one.score);
}

function isListed(photo) {
  return fileName(photo).toLowerCase().includes(wanted.find.trim().toLowerCase()) &&
    (!isFilteredByObjects() || scoresOf(photo).length > 0);
}

// Those without objects come last.
const SORTS = {
  given: ['in the given order', () => 0],
  name: ['by name', (a, b) => fileName(a).localeCompare(fileName(b), undefined, {numeric: true})],
  objects: ['most objects first', (a, b) => scoresOf(b).length - scoresOf(a).length],
  highest: ['highest score first', (a, b) => Math.max(-1, ...scoresOf(b)) - Math.max(-1, ...scoresOf(a))],
  lowest: ['lowest score first', (a, b) => Math.min(2, ...scoresOf(a)) - Math.min(2, ...scoresOf(b))],
};

// ---- The list

let options = [];  // of the list, by the index of their photograph
const optionsMade = new Map();  // the same by the photographs themselves

function optionOf(photo, index, open) {
  if (optionsMade.has(photo)) return optionsMade.get(photo);
  const made = element('button', {type: 'button', title: photo.name, tabIndex: -1},
    element('img', {src: `data:image/jpeg;base64,${photo.thumbnail}`, alt: '', loading: 'lazy', decoding: 'async'}),
    element('span', {textContent: fileName(photo)}), element('small'));
  made.setAttribute('role', 'option');
  made.addEventListener('click', () => open(index));
  optionsMade.set(photo, made);
  return made;
}

// How many objects there are, of each detector.
function countsOf({detectors}) {
  const texts = detectors.map(({objects}) => {
    const count = objects.filter(isWanted).length;
    return count === objects.length ? count : `${count} of ${objects.length}`;
  });
  return `${texts.join(' and ')} object${texts.join() === '1' ? '' : 's'}`;
}

// Those that stay where they are keep the focus.
function showOptions(shown) {
  const {children} = $('photographs');
  if (shown.length !== children.length || shown.some((option, place) => option !== children[place]))
    $('photographs').replaceChildren(...shown);
}

function arrange() {
  const {photos} = data, [, order] = SORTS[wanted.sort];
  listed = [...photos.keys()].filter(index => isListed(photos[index]))
    .sort((a, b) => order(photos[a], photos[b]));
  showOptions(listed.map(index => options[index]));
  for (const index of listed) options[index].lastChild.textContent = countsOf(photos[index]);
  const all = `${photos.length} photograph${photos.length === 1 ? '' : 's'}`;
  $('found').textContent = listed.length ? `${listed.length} of ${all}` : `none of ${all}: the filters leave nothing`;
  $('any').hidden = Object.keys(ANY).every(name => wanted[name] === ANY[name]);
}

let marked = null;  // the photograph that is shown to be open

// Show which photograph is open. If it was not, it is scrolled to, and the focus
// goes with it.
function markPhoto(open) {
  for (const [index, option] of options.entries()) option.setAttribute('aria-selected', index === open);
  const hasFocus = $('photographs').contains(document.activeElement), isNew = open !== marked;
  marked = open;
  if (isNew && listed.includes(open)) {
    reveal($('photographs'), options[open]);
    if (hasFocus) options[open].focus({preventScroll: true});
  }
  const focused = listed.find(index => options[index] === document.activeElement);
  reach(options, options[focused ?? (listed.includes(open) ? open : listed[0])]);
}

// Where nothing is said, one on which there is something to see.
function firstToSee() {
  return listed.find(index => objectsIn(data.photos[index]).length) ?? listed[0] ?? 0;
}

// The photograph after, or before, one in the list.
function neighbour(index, by) {
  if (!listed.length) return index;
  const place = listed.indexOf(index);
  return listed[step(place < 0 ? null : place, by, listed.length)];
}

// ---- What is wanted

// What the address of the page says of the gallery.
function galleryHash() {
  return Object.fromEntries(Object.keys(ANY).filter(name => wanted[name] !== ANY[name])
    .map(name => [name, wanted[name]]));
}

// `given` are the parameters of an address.
function readGallery(given) {
  const label = given.get('class'), from = parseFloat(given.get('from')), sort = given.get('sort');
  Object.assign(wanted, {
    find: given.get('find') ?? '',
    class: [...$('class').options].some(one => one.value === label) ? label : '',
    from: from >= 0 && from <= 1 ? from : 0,
    sort: Object.hasOwn(SORTS, sort) ? sort : 'given',
  });
  for (const name of Object.keys(ANY)) $(name).value = wanted[name] || ANY[name] || '';
  arrange();
}

function listenToGallery() {
  $('sort').append(...Object.entries(SORTS).map(([value, [textContent]]) => element('option', {value, textContent})));
  $('filters').addEventListener('input', () => {
    Object.assign(wanted, {
      find: $('find').value, class: $('class').value, from: +$('from').value, sort: $('sort').value});
    arrange();
    update();
  });
  $('filters').addEventListener('reset', () => {
    Object.assign(wanted, ANY);
    arrange();
    update();
  });
  $('filters').addEventListener('submit', event => event.preventDefault());
  $('photographs').addEventListener('keydown', event => {
    const place = listed.findIndex(index => options[index] === event.target);
    const next = placeAfter(event.key, place, listed.length, ['ArrowUp', 'ArrowLeft'], ['ArrowDown', 'ArrowRight']);
    if (next === null) return;
    event.preventDefault();
    const option = options[listed[next]];
    reach(options, option);
    option.focus();
  });
}

// How many photographs show a class, by its name.
function classCounts() {
  const counts = new Map();
  for (const photo of data.photos)
    for (const label of new Set(objectsIn(photo).map(one => one.label)))
      counts.set(label, (counts.get(label) ?? 0) + 1);
  return counts;
}

// `open` is called with the index of the photograph that somebody opens. Called
// again, the gallery has what was added to `data`.
function buildGallery(open) {
  if (!$('sort').length) listenToGallery();
  options = data.photos.map((photo, index) => optionOf(photo, index, open));
  const counts = classCounts();
  $('class').replaceChildren($('class').firstElementChild, ...[...counts.keys()].sort().map(label =>
    element('option', {value: label, textContent: `${label} (${counts.get(label)})`})));
  $('class').value = wanted.class;
  $('filters').hidden = data.photos.length < 2;
  arrange();
}
