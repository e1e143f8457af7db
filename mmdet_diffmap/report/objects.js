// The table of a photograph's objects.

// The object of the row, or box, that an event is about; null for none.
function objectOf(event) {
  const shape = event.target.closest('[data-object]');
  return shape ? +shape.dataset.object : null;
}

function mark(shape, {target, rival, hover}) {
  const object = +shape.dataset.object;
  shape.classList.toggle('target', object === target);
  shape.classList.toggle('rival', object === rival);
  shape.classList.toggle('hover', object === hover);
}

// `nameOf` gives the name of the object of a number.
function listObjects(objects, nameOf) {
  $('objects').replaceChildren(...objects.map((one, object) => {
    const against = element('button', {type: 'button', textContent: 'vs', title: 'against the chosen object'});
    against.setAttribute('aria-label', `the chosen object against ${nameOf(object)}`);
    const row = element('tr', {tabIndex: 0}, ...[
      object, one.label, one.score.toFixed(2), one.box.map(value => value.toFixed(0)).join(', ')
    ].map(text => element('td', {textContent: text})), element('td', {}, against));
    row.dataset.object = object;
    return row;
  }));
}

function markObjects(chosen) {
  for (const row of $('objects').children) {
    mark(row, chosen);
    const object = +row.dataset.object, against = row.querySelector('button');
    row.setAttribute('aria-selected', object === chosen.target);
    against.disabled = chosen.target === null || object === chosen.target;
    against.setAttribute('aria-pressed', object === chosen.rival);
  }
}

function showObject(object) {
  $('objects').children[object].scrollIntoView({block: 'nearest'});
}

// `actions` are functions of an object: `hover` (null for none), `select` and
// `compare`.
function listenToObjects(actions) {
  const rows = $('objects');
  rows.addEventListener('pointerover', event => actions.hover(objectOf(event)));
  rows.addEventListener('pointerleave', () => actions.hover(null));
  rows.addEventListener('click', event => {
    if (event.target.tagName === 'BUTTON') actions.compare(objectOf(event));
    else actions.select(objectOf(event));
  });
  rows.addEventListener('keydown', event => {
    if (event.target.tagName !== 'TR' || !['Enter', ' '].includes(event.key)) return;
    event.preventDefault();
    actions.select(objectOf(event));
  });
}
