// The table of a photograph's objects: a grid that the tab key reaches once,
// and whose cells the arrows lead to.

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

// What has the focus in each cell of a row: the button, if there is one.
function cellsOf(row) {
  return [...row.children].map(cell => cell.querySelector('button') ?? cell);
}

function allCells() {
  return [...$('objects').children].flatMap(cellsOf);
}

function hasFocus() {
  return $('objects').contains(document.activeElement);
}

let tabled = [];  // the objects of the table

// `nameOf` gives the name of the object of a number.
function listObjects(objects, nameOf) {
  tabled = objects;
  const focused = hasFocus();
  $('objects').replaceChildren(...objects.map((one, object) => {
    const against = element('button', {type: 'button', textContent: 'vs', title: 'against the chosen object'});
    against.setAttribute('aria-label', `the chosen object against ${nameOf(object)}`);
    const row = element('tr', {}, ...[
      object, one.label, one.score.toFixed(2), one.box.map(value => value.toFixed(0)).join(', ')
    ].map(text => element('td', {textContent: text})), element('td', {}, against));
    row.dataset.object = object;
    return row;
  }));
  reach(allCells(), allCells()[0]);
  if (focused) allCells()[0]?.focus({preventScroll: true});
}

function markObjects(chosen) {
  for (const row of $('objects').children) {
    mark(row, chosen);
    const object = +row.dataset.object, against = row.querySelector('button');
    row.classList.toggle('unwanted', !isWanted(tabled[object]));
    row.setAttribute('aria-selected', object === chosen.target);
    // not disabled, since that would take the focus from it
    against.setAttribute('aria-disabled', chosen.target === null || object === chosen.target);
    against.setAttribute('aria-pressed', object === chosen.rival);
  }
  const row = $('objects').children[chosen.target];
  if (row && !hasFocus()) reach(allCells(), cellsOf(row)[0]);
}

// Scroll to the row of an object; the focus goes with it from another one.
function showObject(object) {
  const row = $('objects').children[object];
  row.scrollIntoView({block: 'nearest'});
  if (!hasFocus()) return;
  const column = cellsOf(document.activeElement.closest('tr')).indexOf(document.activeElement);
  focusCell(cellsOf(row)[column]);
}

function focusCell(cell) {
  reach(allCells(), cell);
  cell.focus();
}

// The cell that a key leads to from another; undefined for none.
function cellAfter({key, ctrlKey}, from) {
  const rows = [...$('objects').children], row = from.closest('tr');
  const y = rows.indexOf(row), x = cellsOf(row).indexOf(from);
  if (ctrlKey && key === 'Home') return allCells()[0];
  if (ctrlKey && key === 'End') return allCells().pop();
  if (ctrlKey) return undefined;
  const down = key.startsWith('Arrow') ? placeAfter(key, y, rows.length, ['ArrowUp'], ['ArrowDown']) : null;
  if (down !== null) return cellsOf(rows[down])[x];
  return cellsOf(row)[placeAfter(key, x, row.children.length, ['ArrowLeft'], ['ArrowRight'])];
}

// `actions` are functions of an object: `hover` (null for none), `select` and
// `compare`.
function listenToObjects(actions) {
  const rows = $('objects');
  const use = event => {
    const button = event.target.closest('button');
    if (!button) actions.select(objectOf(event));
    else if (button.ariaDisabled !== 'true') actions.compare(objectOf(event));
  };
  rows.addEventListener('pointerover', event => actions.hover(objectOf(event)));
  rows.addEventListener('pointerleave', () => actions.hover(null));
  rows.addEventListener('focusin', event => {
    reach(allCells(), event.target);
    actions.hover(objectOf(event));
  });
  rows.addEventListener('focusout', () => actions.hover(null));
  rows.addEventListener('click', use);
  rows.addEventListener('keydown', event => {
    const cell = cellAfter(event, event.target);
    if (cell) focusCell(cell);
    else if (event.target.tagName === 'TD' && ['Enter', ' '].includes(event.key)) use(event);
    else return;
    event.preventDefault();
  });
}
