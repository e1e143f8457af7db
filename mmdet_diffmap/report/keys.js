// Keys, dialogs, and where the focus is.
const LOOK_KEYS = [
  [['+', '='], '+', 'more opaque', () => slide('opacity', 0.1)],
  [['-'], '-', 'less opaque', () => slide('opacity', -0.1)],
  [['.'], '.', 'higher threshold', () => slide('threshold', 0.05)],
  [[','], ',', 'lower threshold', () => slide('threshold', -0.05)],
  [['h'], 'h', 'map on and off', () => set({overlay: !state.overlay})],
  [['g'], 'g', 'photograph grey or in colour', () => set({colour: !state.colour})],
  [['?'], '?', 'these keys', () => $('keys').showModal()],
];

// ---- Keys

let charactersWork = true;  // keys such as `j`: some people's devices type them by accident

// Whether a key belongs to the field that has the focus: what is typed, what
// moves a slider or a choice, and the first letters of a choice.
function belongsToField({key, target}) {
  if (target.closest('select, input:not([type=checkbox], [type=radio], [type=range])')) return true;
  return /^(Arrow|Home|End)/.test(key) && target.matches('input:not([type=checkbox])');
}

// Each of `keys` is a list of key names, what people read, what it does in
// words, and a function of the key.
function listenToKeys(keys) {
  document.addEventListener('keydown', event => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector('dialog[open]') || belongsToField(event)) return;
    if (event.key.length === 1 && !charactersWork) return;
    const found = keys.find(([names]) => names.includes(event.key));
    if (!found) return;
    event.preventDefault();
    found[3](event.key);
  });
}

// The place that arrows, Home and End lead to, of so many in a row; null for
// other keys. `back` and `forth` are the names of the arrows.
function placeAfter(key, place, count, back, forth) {
  if (key === 'Home') return 0;
  if (key === 'End') return count - 1;
  const by = forth.includes(key) - back.includes(key);
  return by ? Math.min(count - 1, Math.max(0, place + by)) : null;
}

// ---- Dialogs

function buildDialogs(keys) {
  for (const button of document.querySelectorAll('[id^=open-]'))
    button.addEventListener('click', () => $(button.id.replace('open-', '')).showModal());
  $('key-list').replaceChildren(...keys.flatMap(([, names, help]) => [
    element('dt', {}, ...names.split(' ').flatMap(key => [element('kbd', {textContent: key}), ' '])),
    element('dd', {textContent: help})]));
  $('setting-list').replaceChildren(...Object.entries(data.settings).flatMap(([name, value]) => [
    element('dt', {textContent: name}), element('dd', {textContent: value})]));
  $('characters').addEventListener('input', ({target}) => { charactersWork = target.checked; });
  for (const link of document.querySelectorAll('#skips a'))
    link.addEventListener('click', event => {
      event.preventDefault();  // the address says what is shown
      skipTo($(link.hash.slice(1)));
    });
}

// ---- The focus

const FOCUSABLE = 'button, input, select, a[href], [tabindex="0"]';

function isUsable(one) {
  return one.isConnected && !one.matches(':disabled') && one.checkVisibility();
}

// The first in `outer` that the tab key reaches; of radio buttons, that which is on.
function tabStop(outer) {
  const found = [...outer.querySelectorAll(FOCUSABLE)].filter(one => one.tabIndex >= 0 && isUsable(one));
  return found.find(one => one.checked && one.type === 'radio') ?? found[0];
}

function skipTo(outer) {
  (tabStop(outer) ?? outer).focus();
}

// Of several, the tab key reaches one.
function reach(all, one) {
  for (const each of all) each.tabIndex = each === one ? 0 : -1;
}

// What had the focus last, and what it lay in, from the inside out.
let trail = [];
document.addEventListener('focusin', ({target}) => {
  trail = [];
  for (let one = target; one; one = one.parentElement) trail.push(one);
});

// The focus is lost with an element that is rebuilt, hidden or switched off:
// then what is nearest to it gets it.
function keepFocus() {
  if (!trail.length || isUsable(trail[0])) return;
  if (![document.body, trail[0]].includes(document.activeElement)) return;
  for (const outer of trail) {
    const near = isUsable(outer) && tabStop(outer);
    if (near) return near.focus({preventScroll: true});
  }
}

// Scroll a list alone: in a narrow window the page would leave the photograph.
function reveal(list, one) {
  const [inner, outer] = [one, list].map(each => each.getBoundingClientRect());
  list.scrollTop += Math.min(0, inner.top - outer.top) + Math.max(0, inner.bottom - outer.bottom);
  list.scrollLeft += Math.min(0, inner.left - outer.left) + Math.max(0, inner.right - outer.right);
}
