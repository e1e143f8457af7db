// Labels of boxes: which are written, and where there is room for them.
const LABEL_HEIGHT = 18, LABEL_MARGIN = 5;  // pixels
const FEW = 8;  // boxes, all of which have labels until people say otherwise
const LABEL_FONT = '12px system-ui, sans-serif';

const widths = new Map();  // of texts
function widthOf(text) {
  if (!widths.has(text)) {
    const context = widthOf.context ??= document.createElement('canvas').getContext('2d');
    context.font = LABEL_FONT;
    widths.set(text, Math.ceil(context.measureText(text).width) + 2 * LABEL_MARGIN);
  }
  return widths.get(text);
}

function common(a, b) {
  const across = Math.min(a.left + a.width, b.left + b.width) - Math.max(a.left, b.left);
  const down = Math.min(a.top + a.height, b.top + b.height) - Math.max(a.top, b.top);
  return across > 0 && down > 0 ? across * down : 0;
}

// Above a box, below it or in it, at its left or its right.
function placesBeside({left, top, width, height}, wide) {
  const right = left + width - wide, above = top - LABEL_HEIGHT, low = top + height - LABEL_HEIGHT;
  return [[left, above], [left, top], [right, above], [right, top], [left, low + LABEL_HEIGHT], [left, low],
    [right, low + LABEL_HEIGHT], [right, low]];
}

// Where labels stand in a stage of a size, each where it covers least of those
// before it. Labels are of `texts`, the first of which is written where it is
// no wider than the box or where `whole`, and of a box in pixels of the stage.
// Those of boxes that are not seen are left out.
function placeLabels(labels, [width, height]) {
  const found = [];
  for (const {texts, whole, box, ...label} of labels) {
    const left = Math.max(0, box.x), top = Math.max(0, box.y);
    const seen = {
      left, top, width: Math.min(width, box.x + box.width) - left, height: Math.min(height, box.y + box.height) - top,
    };
    if (seen.width <= 0 || seen.height <= 0) continue;
    const text = texts.find(one => whole || widthOf(one) <= seen.width) ?? texts[texts.length - 1];
    const wide = Math.min(widthOf(text), width);
    let best = null;
    for (const [x, y] of placesBeside(seen, wide)) {
      const place = {
        left: Math.max(0, Math.min(width - wide, x)), top: Math.max(0, Math.min(height - LABEL_HEIGHT, y)),
        width: wide, height: LABEL_HEIGHT,
      };
      const covered = found.reduce((sum, other) => sum + common(place, other), 0);
      if (!best || covered < best.covered) best = {...label, ...place, text, covered};
      if (!covered) break;
    }
    found.push(best);
  }
  return found;
}

// Write labels that have a place; `className` is theirs.
function showLabels(tags, labels) {
  rebuild(tags, labels.map(({text, className}) => `${className} ${text}`).join('\n'), () =>
    labels.map(({text, className}) => element('span', {className, textContent: text})));
  labels.forEach(({left, top, width}, index) => {
    Object.assign(tags.children[index].style, {transform: `translate(${left}px, ${top}px)`, width: `${width}px`});
  });
}

// What is written at boxes, the most important first.
function labels(panel, {left, top, scale}) {
  const {target, rival} = panel, hover = hovered(panel), all = objects(panel);
  const roles = [[target, 'target'], [rival, 'rival'], [hover, 'hover']]
    .filter(([object, role]) => object !== null && (state.boxes || role === 'hover'));
  if (state.boxes && (state.labels ?? all.length <= FEW)) roles.push(...all.map((_, object) => [object, '']));
  return [...new Map(roles.reverse())].reverse().map(([object, className]) => {
    const {x, y, width, height} = panel.boxes[object], name = objectName(panel, object);
    return {
      className, whole: className !== '', texts: [`${name} ${all[object].score.toFixed(2)}`, name],
      box: {x: left + x * scale, y: top + y * scale, width: width * scale, height: height * scale},
    };
  });
}
