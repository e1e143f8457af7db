// What is taken out of the page: the view as a PNG file, and its address.
// As on a light page: what is sent to others is white.
const PAPER = '#fff', INK = '#1b1b1f', INKS = {'target-name': '#00733f', 'rival-name': '#a3147f'};
const LINE = 20, BAR = 8, GAP = 10;  // pixels of the screen

// The part of the picture that a panel shows, in pixels of the picture.
function partSeen({left, top, scale, room}) {
  const [width, height] = photo().size;
  const x = Math.max(0, -left / scale), y = Math.max(0, -top / scale);
  return {x, y, width: Math.min(width - x, room[0] / scale), height: Math.min(height - y, room[1] / scale)};
}

// Text in several colours, word by word in lines of a width.
function linesOf(context, nodes, width, unit) {
  const lines = [[]];
  let x = 0;
  for (const node of nodes) {
    const isBold = node.tagName !== undefined;
    context.font = `${isBold ? '600 ' : ''}${12 * unit}px system-ui, sans-serif`;
    for (const text of node.textContent.match(/\s+|\S+/g) ?? []) {
      const wide = context.measureText(text).width;
      if (x + wide > width && x) {
        lines.push([]);
        x = 0;
        if (!text.trim()) continue;
      }
      lines[lines.length - 1].push({text, x, font: context.font, colour: INKS[node.className] ?? INK});
      x += wide;
    }
  }
  return lines;
}

function writeLines(context, lines, left, top, unit) {
  context.textBaseline = 'middle';
  context.textAlign = 'left';
  lines.forEach((line, row) => line.forEach(({text, x, font, colour}) => {
    Object.assign(context, {font, fillStyle: colour});
    context.fillText(text, left + x, top + (row + 0.5) * LINE * unit);
  }));
}

// The photograph as it is shown: grey as style sheets make it, where it is.
function shownPhoto(panel) {
  const [width, height] = photo().size, canvas = element('canvas', {width, height});
  const context = canvas.getContext('2d');
  context.drawImage($(`photo${panel.at}`), 0, 0, width, height);
  if (!$(`stage${panel.at}`).classList.contains('grey')) return canvas;
  const picture = context.getImageData(0, 0, width, height), {data: values} = picture;
  for (let i = 0; i < values.length; i += 4)
    values.fill(0.2126 * values[i] + 0.7152 * values[i + 1] + 0.0722 * values[i + 2], i, i + 3);
  context.putImageData(picture, 0, 0);
  return canvas;
}

// The lines of the boxes and masks, and then their labels. A line has the
// strokes that it has in the page.
function drawMarks(context, panel, place, part) {
  const {scale} = place, inPart = new DOMMatrix([scale, 0, 0, scale, -part.x * scale, -part.y * scale]);
  for (const line of $(`boxes${panel.at}`).querySelectorAll('rect, path')) {
    const style = getComputedStyle(line), {x, y, width, height} = panel.boxes[line.parentElement.dataset.object];
    if ([style, getComputedStyle(line.parentElement)].some(({display}) => display === 'none')) continue;
    Object.assign(context, {
      strokeStyle: style.stroke, globalAlpha: +style.strokeOpacity, lineWidth: parseFloat(style.strokeWidth),
      lineCap: style.strokeLinecap});
    context.setLineDash(style.strokeDasharray === 'none' ? [] : style.strokeDasharray.split(',').map(parseFloat));
    const shape = new Path2D(line.getAttribute('d') ?? undefined), scaled = new Path2D();
    if (line.tagName === 'rect') shape.rect(x, y, width, height);
    scaled.addPath(shape, inPart);
    context.stroke(scaled);
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
  const tags = $(`boxes${panel.at}`).nextElementSibling.children;
  const {left, top} = tags.length ? tags[0].parentElement.getBoundingClientRect() : {};
  for (const tag of tags) {
    const style = getComputedStyle(tag), at = tag.getBoundingClientRect();
    const x = at.left - left - Math.max(0, place.left), y = at.top - top - Math.max(0, place.top);
    context.fillStyle = style.backgroundColor;
    context.beginPath();
    context.roundRect(x, y, at.width, at.height, 3);
    context.fill();
    Object.assign(context, {fillStyle: style.color, font: LABEL_FONT, textBaseline: 'middle', textAlign: 'left'});
    context.fillText(tag.textContent, x + LABEL_MARGIN, y + at.height / 2 + 0.5, at.width - 2 * LABEL_MARGIN);
  }
}

function drawLegend(context, panel, left, top, width, unit) {
  const bar = element('canvas', {width: 256, height: 1});
  paintColours(bar, isSigned(panel));
  context.fillStyle = getComputedStyle($('legend').firstChild).backgroundColor;
  context.fillRect(left, top + 4 * unit, width, BAR * unit);
  context.drawImage(bar, left, top + 4 * unit, width, BAR * unit);
  const [below, above] = isSigned(panel) ? ends(panel) : ['0', '1'];
  Object.assign(context, {fillStyle: INK, font: `${11 * unit}px system-ui, sans-serif`, textBaseline: 'middle'});
  const y = top + (4 + BAR + LINE / 2) * unit, room = width / 2 - 20 * unit;
  for (const [align, x, text] of [['left', left, below], ['right', left + width, above],
    ['center', left + width / 2, isSigned(panel) ? '0' : '']]) {
    context.textAlign = align;
    context.fillText(text, x, y, room);
  }
}

// The view as a canvas. A pixel of the picture is a whole number of the file's
// pixels, about twice as many as on the screen.
function drawView() {
  const place = placeOf($(`stage${active().at}`), photo().size), part = partSeen(place);
  const pixels = Math.max(1, Math.round(2 * place.scale)), unit = pixels / place.scale;
  const width = Math.round(part.width * pixels), height = Math.round(part.height * pixels);
  const canvas = element('canvas'), context = canvas.getContext('2d');
  const titles = openPanels().map(panel => linesOf(context, $(`title${panel.at}`).childNodes, width, unit));
  const columns = Math.min(state.count, +getComputedStyle($('panels')).getPropertyValue('--columns'));
  const head = Math.max(...titles.map(lines => lines.length)) * LINE * unit;
  const foot = (4 + BAR + LINE) * unit, gap = GAP * unit;
  const wide = columns * (width + gap) + gap, rows = Math.ceil(state.count / columns);
  const inside = wide - 2 * gap, below = rows * (head + height + foot + gap);
  const last = linesOf(context, [new Text(`${document.title} · ${baseName()}`)], inside, unit);
  const words = current(active()) === null ? undefined : wordsOf(active());
  const bars = words ? linesOfBars(context, words, inside, unit) : [];
  const about = words ? linesOf(context, [new Text(wordsCaption(words, objectName(active(), current(active()))))],
    inside, unit) : [];
  const lines = (about.length + last.length) * LINE * unit + bars.length * heightOfBars(unit);
  Object.assign(canvas, {width: Math.round(wide), height: Math.round(below + lines + gap)});
  context.fillStyle = PAPER;
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const [i, panel] of openPanels().entries()) {
    const left = Math.round(gap + i % columns * (width + gap));
    const top = Math.round(gap / 2 + Math.floor(i / columns) * (head + height + foot + gap) + head);
    writeLines(context, titles[i], left, top - head, unit);
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.imageSmoothingEnabled = !$(`photo${panel.at}`).parentElement.classList.contains('pixels');
    for (const picture of [shownPhoto(panel), ...panel.shown ? [$(`overlay${panel.at}`)] : []])
      context.drawImage(picture, part.x, part.y, part.width, part.height, left, top, width, height);
    context.translate(left, top);
    context.scale(unit, unit);
    drawMarks(context, panel, place, part);
    context.restore();
    if (panel.shown) drawLegend(context, panel, left, top + height, width, unit);
  }
  writeLines(context, about, gap, below, unit);
  drawBars(context, bars, gap, below + about.length * LINE * unit, inside, unit);
  writeLines(context, last, gap, canvas.height - last.length * LINE * unit - gap / 2, unit);
  return canvas;
}

function baseName() {
  return photo().name.split('/').pop();
}

function pictureName() {
  const parts = [baseName().replace(/\.[^.]*$/, ''), method(active()).name, active().mode];
  if (active().target !== null) parts.push(active().target);
  return `${parts.join('-').replace(/[^\w+.-]+/g, '_')}.png`;
}

async function savePicture() {
  const file = await new Promise(done => drawView().toBlob(done));
  const link = element('a', {href: URL.createObjectURL(file), download: pictureName()});
  link.click();
  // not at once: some browsers read it later
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say($('save-picture'), 'Saved');
}

// Pages that are files may not be allowed to use the clipboard.
async function copyLink() {
  const link = location.href.split('#')[0] + hash();
  try {
    await navigator.clipboard.writeText(link);
  } catch {
    const field = element('textarea', {value: link});
    $('bar').append(field);
    field.select();
    const isCopied = document.execCommand('copy');
    field.remove();
    if (!isCopied) return say($('copy-link'), 'Not allowed');
  }
  say($('copy-link'), 'Copied');
}

// A button says for a moment what it has done.
function say(button, text) {
  button.dataset.said = text;
  $('said').textContent = text;
  clearTimeout(say[button.id]);
  say[button.id] = setTimeout(() => {
    delete button.dataset.said;
    $('said').textContent = '';
  }, 1500);
}
