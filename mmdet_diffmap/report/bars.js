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
    const largest = Math.max(...words.values.map(Math.abs)) || 1, table = colourTable(true);
    const colours = [table[31], table.at(-32)].map(rgb => `rgb(${rgb.join()})`);
    figure.style.setProperty('--against', colours[0]);
    figure.style.setProperty('--for', colours[1]);
    return [
      element('figcaption', {textContent: `Words, for and against the ${words.output} of ${name}; 1 is ` +
        `${largest.toPrecision(2)}`}),
      element('ol', {}, ...words.spans.map(([from, to], at) =>
        wordBar(words.caption.slice(from, to), words.values[at] / largest, words.values[at]))),
    ];
  });
}

function wordBar(word, share, value) {
  const bar = element('i', {className: share < 0 ? 'against' : 'for'});
  bar.style.setProperty('--share', Math.abs(share));
  const number = `${share < 0 ? '−' : '+'}${Math.abs(share).toFixed(2)}`;
  return element('li', {title: `${word}: ${value.toPrecision(3)}`}, element('span', {textContent: word}), bar,
    element('small', {textContent: number}));
}
