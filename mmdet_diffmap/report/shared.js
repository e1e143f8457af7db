// What pages have in common. The script of a page comes after this one: it has
// a `state`, which begins with `LOOK`, and `update`, which shows it.
const $ = id => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const LOOK = {
  opacity: data.opaque, threshold: 0, colours: data.colours,
  overlay: true, colour: false,
};

// What the page carries beside `data`, by name: in itself, or in what was added.
const payloads = new Map();
async function bytes(name) {
  const text = await (payloads.get(name) ?? $(`data-${name}`).textContent);
  return Uint8Array.from(atob(text), char => char.charCodeAt(0));
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// New children, but only where they are others: the old ones may have the focus.
function rebuild(parent, key, children) {
  if (parent.dataset.made === key) return;
  parent.dataset.made = key;
  parent.replaceChildren(...children());
}

function step(value, by, count) {
  return value === null ? by > 0 ? 0 : count - 1 : (value + by + count) % count;
}

function next(list, value) {
  return list[(list.indexOf(value) + 1) % list.length];
}

// ---- Colours

function scheme() {
  return data.schemes[state.colours];
}

function colourTable(signed) {
  const digits = scheme()[signed ? 'signed' : 'heat'];
  return Array.from({length: digits.length / 6}, (_, i) =>
    [0, 2, 4].map(at => parseInt(digits.substr(6 * i + at, 2), 16)));
}

// How opaque an absolute value is, where the largest is fully opaque: the
// package's own curve.
function opaque(value) {
  const place = value * (data.opacity.length - 1), before = Math.floor(place);
  const after = Math.min(before + 1, data.opacity.length - 1);
  return data.opacity[before] + (place - before) * (data.opacity[after] - data.opacity[before]);
}

// What is painted for each of `STEPS` values, as in the package's figures.
const STEPS = 1021;
function paints(signed) {
  const low = signed ? -1 : 0, table = colourTable(signed), painted = new Uint8ClampedArray(4 * STEPS);
  for (let i = 0; i < STEPS; i++) {
    const value = Math.abs(low + i / (STEPS - 1) * (1 - low));
    const alpha = value < state.threshold ? 0 : 255 * state.opacity * opaque(value);
    painted.set([...table[Math.round((table.length - 1) * i / (STEPS - 1))], alpha], 4 * i);
  }
  return new Uint32Array(painted.buffer);
}

// Show values, one a pixel, in [-1, 1] if they are signed; null for none.
function paint(canvas, values, signed) {
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!values) return;
  const low = signed ? -1 : 0, palette = paints(signed);
  const picture = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(picture.data.buffer), scale = (STEPS - 1) / (1 - low);
  for (let i = 0; i < values.length; i++) pixels[i] = palette[Math.round((values[i] - low) * scale)];
  context.putImageData(picture, 0, 0);
}

function nextColours() {
  set({colours: next(Object.keys(data.schemes), state.colours)});
}

// All colours of a kind of map, from the lowest value to the highest.
function paintColours(canvas, signed) {
  const low = signed ? -1 : 0;
  paint(canvas, Float32Array.from({length: canvas.width}, (_, x) => low + x / (canvas.width - 1) * (1 - low)), signed);
}

// The choice of colours and their legend, whose ids end in `at`: colours as they
// look over a grey photograph.
function describeColours(at, signed, below, above) {
  const select = $(`colours${at}`);
  rebuild(select, 'all', () => [['colour-blind safe', true], ['others', false]].map(([label, wanted]) =>
    element('optgroup', {label}, ...Object.entries(data.schemes).filter(([, {safe}]) => safe === wanted)
      .map(([value]) => element('option', {value, textContent: value})))));
  select.value = state.colours;
  paintColours($(`legend${at}`).firstChild, signed);
  $(`low${at}`).textContent = signed ? below : '0';
  $(`middle${at}`).textContent = signed ? '0' : '';
  $(`high${at}`).textContent = signed ? above : '1';
}

// ---- What is shown

function set(changes) {
  Object.assign(state, changes);
  update();
}

function slide(name, by) {
  set({[name]: Math.min(1, Math.max(0, Math.round(100 * (state[name] + by)) / 100))});
}

// Returns what has the page described and drawn before the next frame, however
// often it is called. `stage` is busy until then. `draw` is told how to ask
// whether something else is to be shown by now: what it draws is of no use then.
function updater(stage, describe, draw) {
  let asked = 0, waiting = false;
  return () => {
    asked++;
    stage.setAttribute('aria-busy', true);
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(async () => {
      waiting = false;
      describe();
      keepFocus();
      const ticket = asked;
      await draw(() => ticket !== asked);
      if (ticket === asked) stage.setAttribute('aria-busy', false);
    });
  };
}

function describeLook() {
  for (const id of ['opacity', 'threshold']) {
    $(id).value = state[id];
    $(id).nextElementSibling.value = `${Math.round(100 * state[id])} %`;
  }
  for (const input of document.querySelectorAll('[id^=show-]'))
    input.checked = state[input.id.replace('show-', '')];
}

// A slider or a check box was moved or clicked.
function changeLook(input) {
  if (input.type === 'range') set({[input.id]: +input.value});
  else set({[input.id.replace('show-', '')]: input.checked});
}

// Have the address of the page say what is shown.
function remember(hash) {
  try {
    if (location.hash !== hash) history.replaceState(null, '', hash);
  } catch (error) {
    // a browser may not allow it so often, or inside of another page: the
    // address is a convenience
  }
}
