// Maps: from cells on grids to pixels of the picture, as the package does it.
const CACHE_BYTES = 128e6;  // of the maps of a photograph by one method
const JOINT = 'all';  // the group of the maps of all outputs joined
const FLAT = 2e-6;  // of the largest value: what float32 makes of equal values

// The weights that torch's bilinear resize gives to `cells` for each of
// `pixels`: the cell before and after a pixel, and the share of the latter.
function linear(pixel, pixels, cells) {
  const place = Math.max(0, (pixel + 0.5) * cells / pixels - 0.5);
  const before = Math.min(Math.floor(place), cells - 1);
  return [before, Math.min(before + 1, cells - 1), place - before];
}

// Input pixels that the cells of a grid cover: strided layers round up.
function coveredLength(length, cells) {
  const stride = 2 ** (32 - Math.clz32(Math.ceil(length / cells) - 1));
  return Math.ceil(length / stride) === cells ? cells * stride : length;
}

// Four cells and their weights for each pixel along one axis: the grid is
// resized to the network's input, cut to the image, and resized to the picture.
const axes = new Map();
function axisWeights(input, content, pixels, first, cells) {
  const key = [input, content, pixels, first, cells].join();
  if (axes.has(key)) return axes.get(key);
  const covered = coveredLength(input, cells);
  const from = new Int32Array(4 * pixels), weight = new Float32Array(4 * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const [before, after, share] = linear(pixel, pixels, content);
    [[before, 1 - share], [after, share]].forEach(([one, outer], i) => {
      const [low, high, inner] = linear(first + one, covered, cells);
      from.set([low, high], 4 * pixel + 2 * i);
      weight.set([outer * (1 - inner), outer * inner], 4 * pixel + 2 * i);
    });
  }
  axes.set(key, {from, weight});
  return {from, weight};
}

// Where an axis sees some of the cells `first` to `end - 1`.
function reached({from, weight}, first, end) {
  const sees = [];
  for (let i = 0; i < from.length; i++)
    if (weight[i] && from[i] >= first && from[i] < end) sees.push(i >> 2);
  return sees.length ? [sees[0], sees[sees.length - 1] + 1] : [0, 0];
}

// Enlarge one rectangle of cells, and keep in `out` what is larger there.
function enlarge(part, cells, frame, out) {
  const [rows, columns, top, left, height, width] = part.place;
  const [pixelRows, pixelColumns] = frame.image;
  const across = axisWeights(frame.input[1], frame.content[1], pixelColumns, frame.corner[1], columns);
  const down = axisWeights(frame.input[0], frame.content[0], pixelRows, frame.corner[0], rows);
  const [x0, x1] = reached(across, left, left + width);
  const [y0, y1] = reached(down, top, top + height);
  const wide = new Float32Array(height * (x1 - x0));
  for (let x = x0; x < x1; x++)
    for (let tap = 4 * x; tap < 4 * x + 4; tap++) {
      const column = across.from[tap] - left, weight = across.weight[tap];
      if (column < 0 || column >= width || !weight) continue;
      for (let row = 0; row < height; row++)
        wide[row * (x1 - x0) + x - x0] += weight * cells[part.start + row * width + column];
    }
  const line = new Float32Array(x1 - x0);
  for (let y = y0; y < y1; y++) {
    line.fill(0);
    for (let tap = 4 * y; tap < 4 * y + 4; tap++) {
      const row = down.from[tap] - top, weight = down.weight[tap];
      if (row < 0 || row >= height || !weight) continue;
      const start = row * line.length;
      for (let x = 0; x < line.length; x++) line[x] += weight * wide[start + x];
    }
    const start = y * pixelColumns + x0;
    for (let x = 0; x < line.length; x++)
      if (line[x] > out[start + x]) out[start + x] = line[x];
  }
}

// Scale to [0, 1]; a flat map becomes zeros, also one that is flat but for
// rounding.
function normalize(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const factor = high - low > FLAT * high ? 1 / (high - low) : 0;
  for (let i = 0; i < values.length; i++) values[i] = (values[i] - low) * factor;
  return values;
}

// What a photograph's maps by one method are made of, from their description and
// their compressed cells, which may come later.
async function unpackMaps({frame, groups}, compressed) {
  const stream = new Blob([await compressed]).stream().pipeThrough(new DecompressionStream('deflate'));
  const cells = new Uint8Array(await new Response(stream).arrayBuffer());
  let start = 0;
  const placed = Object.fromEntries(Object.entries(groups).map(([name, objects]) => [
    name, objects.map(({parts}) => parts.map(place => {
      const part = {place, start};
      start += place[4] * place[5];
      return part;
    }))]));
  return {cells, frame, groups: placed, described: groups, maps: new Map(), others: new Map()};
}

// The joined levels of an object, in 255ths of its largest cell, one a pixel
// of the picture.
function joined(source, group, object) {
  const [height, width] = source.frame.image;
  const values = new Float32Array(height * width);
  for (const part of source.groups[group][object]) enlarge(part, source.cells, source.frame, values);
  return values;
}

// A map that is made once, where there is room to keep it.
function kept(source, key, make) {
  if (source.maps.has(key)) return source.maps.get(key);
  const values = make();
  if ((source.maps.size + 1) * values.byteLength <= CACHE_BYTES) source.maps.set(key, values);
  return values;
}

// The heat map of an object, one value in [0, 1] a pixel of the picture.
function heatmap(source, output, object) {
  return kept(source, `${output} ${object}`, () => normalize(joined(source, output, object)));
}

// What speaks for something less what speaks against it, in [-1, 1]: divided by
// the largest absolute value, so that zero stays where it is.
function signedMap(source, row) {
  return kept(source, `signed ${row}`, () => {
    const sides = ['for', 'against'], peaks = sides.map(side => source.described[side][row].peak);
    // against the larger peak, since peaks may be too small for single precision
    const [values, against] = sides.map((side, i) => {
      const factor = peaks[i] / (Math.max(...peaks) || 1) / 255;
      return joined(source, side, row).map(value => value * factor);
    });
    let largest = 0;
    for (let i = 0; i < values.length; i++) {
      values[i] -= against[i];
      largest = Math.max(largest, Math.abs(values[i]));
    }
    return largest ? values.map(value => value / largest) : values;
  });
}

// The largest and the second largest heat map of each pixel.
function twoLargest(source, output) {
  if (!source.others.has(output)) {
    const [height, width] = source.frame.image;
    const first = new Float32Array(height * width), second = new Float32Array(height * width);
    source.groups[output].forEach((_, object) => {
      const values = heatmap(source, output, object);
      for (let i = 0; i < values.length; i++) {
        const value = values[i];
        if (value > first[i]) {
          second[i] = first[i];
          first[i] = value;
        } else if (value > second[i]) second[i] = value;
      }
    });
    source.others.clear();  // of one output at a time
    source.others.set(output, {first, second});
  }
  return source.others.get(output);
}

// What the overlay shows of an object, against another one or against all, or
// what it has in common with another one.
function valuesOf(source, output, mode, target, rival) {
  const own = heatmap(source, output, target);
  if (mode === 'heat') return own;
  if (mode === 'common') {
    const theirs = heatmap(source, output, rival);
    return normalize(own.map((value, i) => Math.min(value, theirs[i])));
  }
  const values = Float32Array.from(own);
  if (rival !== null) {
    const theirs = heatmap(source, output, rival);
    for (let i = 0; i < values.length; i++) values[i] -= theirs[i];
  } else if (source.groups[output].length > 1) {
    const {first, second} = twoLargest(source, output);
    for (let i = 0; i < values.length; i++) values[i] -= own[i] === first[i] ? second[i] : first[i];
  }
  if (mode === 'signed') return values;
  for (let i = 0; i < values.length; i++) if (values[i] < 0) values[i] = 0;
  return normalize(values);
}
