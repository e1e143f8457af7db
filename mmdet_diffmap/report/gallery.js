// The gallery: which photographs are listed, and which comes next.

// `open` is called with the index of the photograph that somebody clicks.
function buildGallery(open) {
  $('gallery').replaceChildren(...data.photos.map((one, index) => {
    const count = one.detectors[0].objects.length;
    const button = element('button', {type: 'button', title: one.name},
      element('img', {src: `data:image/jpeg;base64,${one.thumbnail}`, alt: ''}),
      element('span', {textContent: one.name.split('/').pop()}),
      element('small', {textContent: `${count} object${count === 1 ? '' : 's'}`}));
    button.addEventListener('click', () => open(index));
    return button;
  }));
}

function markPhoto(index) {
  for (const [number, button] of [...$('gallery').children].entries())
    button.setAttribute('aria-current', number === index);
}

// The photograph after, or before, one in the gallery; it is scrolled to.
function neighbour(index, by) {
  const found = step(index, by, data.photos.length);
  $('gallery').children[found].scrollIntoView({block: 'nearest'});
  return found;
}
