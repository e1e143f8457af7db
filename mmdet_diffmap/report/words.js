// Maps in words: for people who do not see them, and what they are made of.
const THIRDS = [
  ['upper left', 'top', 'upper right'], ['left', 'middle', 'right'], ['lower left', 'bottom', 'lower right']];

// Where a place is, as seen from a box `its`; both in pixels of the picture.
function placeInWords([x, y], {x: left, y: top, width, height}, its) {
  const third = (value, from, length) =>
    value < from ? -1 : value > from + length ? 3 : Math.min(2, Math.floor(3 * (value - from) / (length || 1)));
  const column = third(x, left, width), row = third(y, top, height), name = THIRDS[row]?.[column];
  if (name) return `${name === 'middle' ? 'in' : 'at'} the ${name} of ${its}`;
  const sides = [[row, 'above', 'below'], [column, 'left of', 'right of']]
    .flatMap(([at, before, after]) => at < 0 ? before : at > 2 ? after : []);
  return `${sides.join(' and ')} ${its}`;
}

// Where values with a sign are: the strongest, the centre of mass, and how much
// of them lies in a box; null if there are none.
function whereIn(values, width, {x: left, y: top, width: wide, height: high}, sign) {
  let sum = 0, inside = 0, sumX = 0, sumY = 0, peak = 0, at = 0;
  for (let i = 0; i < values.length; i++) {
    const value = sign * values[i];
    if (value <= 0) continue;
    const x = i % width + 0.5, y = Math.floor(i / width) + 0.5;
    sum += value;
    sumX += value * x;
    sumY += value * y;
    if (x >= left && x <= left + wide && y >= top && y <= top + high) inside += value;
    if (value > peak) [peak, at] = [value, i];
  }
  return sum ? {
    peak, strongest: [at % width + 0.5, Math.floor(at / width) + 0.5], centre: [sumX / sum, sumY / sum],
    share: inside / sum,
  } : null;
}

// Where a map of a photograph lies, as seen from a box (in pixels of the
// original photograph) that is called `its`. `ends` are what a signed map is
// below and above zero, in words; null for a map that has no sign.
function mapInWords(values, photo, box, its, ends) {
  const around = placed(photo, box), [width] = photo.size;
  const where = (sign, which) => {
    const found = whereIn(values, width, around, sign);
    if (!found) return `${which}nothing`;
    const [strongest, centre] = [found.strongest, found.centre].map(place => placeInWords(place, around, its));
    const value = ends ? ` (${(sign * found.peak).toFixed(2)})` : '';
    return `${which}strongest place${value} ${strongest === centre ? '' : `${strongest}, `}` +
      `${strongest === centre ? 'and ' : ''}centre of mass ${centre}, ${Math.round(100 * found.share)} % in ${its}`;
  };
  return ends ? `${where(1, `above zero (${ends[1]}) `)}; ${where(-1, `below zero (${ends[0]}) `)}` : where(1, '');
}

// Have people hear it who do not see the stage; only what has changed.
function readAloud(at, text) {
  if ($(`words${at}`).textContent !== text) $(`words${at}`).textContent = text;
}

// What a mode shows of an object.
function modeInWords(mode, name, rival, question) {
  const against = `${name} against ${rival ?? 'all others'}`;
  return {
    heat: `heat map of ${name}`, signed: `difference map of ${against}`,
    positive: `positive part of the difference map of ${against}`, evidence: `${name}: ${question}`,
    common: `what ${name} and ${rival} have in common`,
  }[mode];
}

// Of what the joint map of an object is made, by the highest points of the maps
// of single outputs: their shares, and what follows. Null without those of
// score and sides.
function jointInWords(groups, object, label) {
  const share = name => groups[name][object].peak / (groups[JOINT][object].peak || 1);
  const sides = ['x1', 'y1', 'x2', 'y2'].filter(name => groups[name]);
  if (!groups.score || !sides.length) return null;
  const percent = name => `${Math.round(100 * share(name))} %`;
  const score = share('score'), side = Math.max(...sides.map(share));
  return {
    shares: `Of the highest point of ${label}’s joint map, the map of the score reaches ${percent('score')}, ` +
      `those of the sides ${sides.map(name => `${name} ${percent(name)}`).join(', ')}.`,
    mostly: side > 2 * score ? 'This map is mostly about the box: why it is where it is. See “score” for the class.' :
      score > 2 * side ? 'This map is mostly about the score, and little about the box.' :
        'This map is about the score and the box.',
  };
}

function describeJoint(joint) {
  $('mostly').textContent = joint ? joint.mostly : '';
  $('shares').textContent = joint ? `${joint.shares} ${joint.mostly}` : '';
}
