// What each word of a text counts for an object, as bars under the words; of
// detectors that are asked with a text.

// `words` are of one object: {caption, spans, values, rest, output}; undefined
// where there are none. Their place is kept while no object is shown, so that
// nothing moves.
function showWords(words, name, isShown) {
  const figure = $('words');
  figure.hidden = !words;
  figure.classList.toggle('waiting', !isShown);
  if (!words) return;
  rebuild(figure, `${name} ${words.values} ${state.colours}`, () => {
    const [against, speaksFor] = barColours();
    figure.style.setProperty('--against', against);
    figure.style.setProperty('--for', speaksFor);
    return [
      element('figcaption', {textContent: wordsCaption(words, name)}),
      element('ol', {}, ...barsOf(words).map(wordBar)),
    ];
  });
}

function wordBar({word, share, value, number}) {
  const bar = element('i', {className: share < 0 ? 'against' : 'for'});
  bar.style.setProperty('--share', Math.abs(share));
  return element('li', {title: `${word}: ${value.toPrecision(3)}`}, element('span', {textContent: word}), bar,
    element('small', {textContent: number}));
}

function largestOf({values}) {
  return Math.max(...values.map(Math.abs)) || 1;
}

function wordsCaption(words, name) {
  return `Words, for and against the ${words.output} of ${name}; 1 is ${largestOf(words).toPrecision(2)}`;
}

// Each word with its value, and with what share of the largest its bar shows.
function barsOf(words) {
  const largest = largestOf(words), letters = [...words.caption];  // spans count as Python does, an emoji as one
  return words.spans.map(([from, to], at) => {
    const value = words.values[at], share = value / largest;
    return {
      word: letters.slice(from, to).join(''), value, share,
      number: `${share < 0 ? '−' : '+'}${Math.abs(share).toFixed(2)}`,
    };
  });
}

// Of what speaks against an object, and of what speaks for it.
function barColours() {
  const table = colourTable(true);
  return [table[31], table.at(-32)].map(rgb => `rgb(${rgb.join()})`);
}

// ---- In the saved picture

const WORD = {letters: 18, bar: 17, digits: 16, least: 36, space: 6};  // pixels of the screen

// The bars in lines of a width, `unit` pixels of a canvas to one of the screen.
// Each line is {bars, wide}, and each bar has its `wide`.
function linesOfBars(context, words, width, unit) {
  const lines = [], font = wordFont(unit), space = WORD.space * unit;
  Object.assign(context, {font});
  for (const bar of barsOf(words)) {
    const wide = Math.max(WORD.least * unit, context.measureText(bar.word).width);
    let line = lines.at(-1);
    if (!line || line.wide + space + wide > width) lines.push(line = {bars: [], wide: -space});
    line.bars.push({...bar, wide});
    line.wide += space + wide;
  }
  return lines;
}

function wordFont(unit) {
  return `${13 * unit}px system-ui, sans-serif`;
}

function heightOfBars(unit) {
  return (WORD.letters + 2 * WORD.bar + WORD.digits + WORD.space) * unit;
}

// Draw lines of bars below `top`, each in the middle of the width.
function drawBars(context, lines, left, top, width, unit) {
  const [against, speaksFor] = barColours(), half = WORD.bar * unit;
  Object.assign(context, {textBaseline: 'middle', textAlign: 'center'});
  lines.forEach(({bars, wide: all}, row) => {
    const above = top + row * heightOfBars(unit), zero = above + WORD.letters * unit + half;
    let x = left + (width - all) / 2;
    for (const {word, share, number, wide} of bars) {
      Object.assign(context, {fillStyle: INK, font: wordFont(unit)});
      context.fillText(word, x + wide / 2, above + WORD.letters / 2 * unit);
      context.font = `${11 * unit}px system-ui, sans-serif`;
      context.fillText(number, x + wide / 2, zero + half + WORD.digits / 2 * unit);
      context.fillRect(x + 3 * unit, zero - unit / 2, wide - 6 * unit, unit);
      context.fillStyle = share < 0 ? against : speaksFor;
      context.fillRect(x + 7 * unit, zero, wide - 14 * unit, -share * half);
      x += wide + WORD.space * unit;
    }
  });
}
