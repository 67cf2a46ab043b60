// A cell against another picture: its content, its style, or any other cell.

const compare = {
  look: document.getElementById('detail-look'),
  tools: document.getElementById('detail-tools'),
  pinned: null, // the cell that was marked to compare others with
  times: 4, // how much brighter differences are shown
  cut: 50, // where the slider is, in percent
  timer: null,
};

const MODES = [
  ['picture', 'Picture'],
  ['side', 'Side by side'],
  ['slide', 'Slider'],
  ['flicker', 'Flicker'],
  ['difference', 'Difference'],
];
const FLICKER_MS = 700;
const KEY_LENGTH = 16; // of a cell's key, as the address has it
const SAME_SHAPE = 0.03; // proportions that differ by less come from rounding sizes

const keyOf = (cell) => run.cells.key[cell].slice(0, KEY_LENGTH);
const cellOfKey = (key) => {
  const cell = key ? run.cells.key.findIndex((entry) => entry.startsWith(key)) : -1;
  return cell < 0 ? null : cell;
};

const coordinates = (places) => axes.map((axis) => places[axis.name]).join();
let cellsByCoordinates = null;

// The cell that differs from this one in one axis only.
function neighbour(cell, name, place) {
  if (!cellsByCoordinates) {
    cellsByCoordinates = new Map();
    for (let one = 0; one < count; one += 1) {
      cellsByCoordinates.set(axes.map((axis) => at[axis.name][one]).join(), one);
    }
  }
  const places = Object.fromEntries(axes.map((axis) => [axis.name, at[axis.name][cell]]));
  const found = cellsByCoordinates.get(coordinates({ ...places, [name]: place }));
  return found === undefined ? null : found;
}

const sourceFiles = (axis, cell) => {
  const source = sourceOf(axis, axisOf.get(axis).values[at[axis][cell]]);
  return source ? source.files : [];
};

// What a cell is compared with, from its name in the address: `content`, `style`, `style 2` of a blend,
// `axis NAME VALUE`, or `cell KEY`.
function partnerOf(cell) {
  const [kind, name, ...rest] = state.other.split(' ');
  if (kind === 'cell') {
    const other = cellOfKey(name);
    return other === null ? null : { cell: other };
  }
  if (kind === 'axis' && axisOf.has(name)) {
    const other = neighbour(cell, name, axisOf.get(name).values.indexOf(rest.join(' ')));
    return other === null ? null : { cell: other };
  }
  const axis = kind === 'style' ? 'style' : 'content';
  const files = sourceFiles(axis, cell);
  const number = Number(name || 1);
  if (!files[number - 1]) return null;
  return { axis, file: files[number - 1], number: files.length > 1 ? number : null };
}

function partnerName(cell, partner) {
  if (partner === null) return 'nothing';
  if (partner.cell === cell) return 'itself';
  if (partner.cell === undefined) {
    const part = partner.number ? `, picture ${partner.number}` : '';
    return `${partner.axis} ${valueOf(partner.axis, cell)}${part}`;
  }
  const apart = axes.filter((axis) => at[axis.name][cell] !== at[axis.name][partner.cell]);
  return apart.map((axis) => `${labelText(axis.name)} ${valueOf(axis.name, partner.cell)}`).join(', ');
}

// The picture of a cell, or of what it is compared with, as a layer; null where there is none.
function layerOf(cell) {
  if (run.cells.thumb[cell]) return layer(viewPath(cell), cellName(cell), thumbPath(cell));
  return snapshotsOf(cell) && layer(framesOf(cell).at(-1)[0], `${cellName(cell)}, not finished`);
}

function partnerLayer(cell, partner) {
  if (partner === null) return null;
  if (partner.cell !== undefined) return layerOf(partner.cell);
  const source = sourceOf(partner.axis, axisOf.get(partner.axis).values[at[partner.axis][cell]]);
  const spare = source && source.thumb ? thumbLink(source.thumb) : null;
  return layer(link(partner.file), partnerName(cell, partner), spare);
}

const stageHole = (...content) => el('div', { class: 'hole' }, ...content);

// Lay one picture over another: the same box for both, whatever their sizes.
function fitOver(image, shape) {
  image.classList.add('over');
  image.addEventListener('load', () => {
    const ratio = (image.naturalWidth / image.naturalHeight) / (shape[0] / shape[1]);
    image.classList.toggle('fill', Math.abs(ratio - 1) < SAME_SHAPE);
  });
  return image;
}

const STAGES = {
  picture: (cell, mine) => [pane(null, box(shapeOf(cell), {}, mine))],
  side(cell, mine, other, partner) {
    const right = box(partner.cell === undefined ? [1, 1] : shapeOf(partner.cell), {}, other);
    other.addEventListener('load', () => shapeBox(right, [other.naturalWidth, other.naturalHeight]));
    return [
      pane(['A'], box(shapeOf(cell), {}, mine)),
      pane(['B: ', ...breakable(partnerName(cell, partner))], right),
    ];
  },
  slide(cell, mine, other, partner) {
    const handle = el('div', {
      class: 'wiper', role: 'slider', tabindex: 0, 'aria-label': 'How much of A is shown', 'aria-valuemin': 0, 'aria-valuemax': 100,
    });
    const frame = box(shapeOf(cell), { class: 'wipe' }, mine, fitOver(other, shapeOf(cell)), handle);
    const cutAt = (percent) => {
      compare.cut = Math.max(0, Math.min(100, percent));
      frame.style.setProperty('--cut', `${compare.cut}%`);
      handle.setAttribute('aria-valuenow', Math.round(compare.cut));
      handle.setAttribute('aria-valuetext', `${Math.round(compare.cut)} % of A`);
    };
    const follow = (event) => {
      const shown = frame.getBoundingClientRect();
      cutAt((100 * (event.clientX - shown.left)) / shown.width);
    };
    // Within a picture that is zoomed a drag elsewhere moves the picture.
    let dragged = false;
    frame.addEventListener('pointerdown', (event) => {
      dragged = event.button === 0 && (event.target === handle || viewer.zoom === 1) && viewer.pointers.size === 0;
      if (!dragged) return;
      frame.setPointerCapture(event.pointerId);
      follow(event);
      event.preventDefault();
      handle.focus({ preventScroll: true });
    });
    frame.addEventListener('pointermove', (event) => {
      if (dragged && viewer.pointers.size > 1) dragged = false; // a pinch
      if (!dragged) return;
      event.preventDefault();
      follow(event);
    });
    for (const end of ['pointerup', 'pointercancel']) frame.addEventListener(end, () => { dragged = false; });
    handle.addEventListener('keydown', (event) => {
      const step = event.shiftKey ? 10 : 2;
      const to = {
        ArrowLeft: compare.cut - step, ArrowDown: compare.cut - step, ArrowRight: compare.cut + step, ArrowUp: compare.cut + step, Home: 0, End: 100,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      cutAt(to);
    });
    cutAt(compare.cut);
    return [pane(['A | B: ', ...breakable(partnerName(cell, partner))], frame)];
  },
  flicker(cell, mine, other, partner) {
    const frame = box(shapeOf(cell), { class: 'flicker' }, mine, fitOver(other, shapeOf(cell)));
    return [pane([el('b', { id: 'flicker-shown' }, 'A'), ' | B: ', ...breakable(partnerName(cell, partner))], frame)];
  },
  difference(cell, mine, other, partner) {
    const frame = box(shapeOf(cell), { class: 'difference' }, mine, fitOver(other, shapeOf(cell)));
    frame.style.setProperty('--times', compare.times);
    return [pane(['A − B: ', ...breakable(partnerName(cell, partner))], frame)];
  },
};

function showStage(cell) {
  stopFlicker();
  const partner = state.mode === 'picture' ? null : partnerOf(cell);
  const mine = layerOf(cell);
  const other = state.mode === 'picture' ? null : partnerLayer(cell, partner);
  let content = null;
  if (!mine) content = [stageHole(...placeholder(cell))];
  else if (state.mode !== 'picture' && !other) content = [stageHole(el('strong', {}, 'nothing to compare with'), /^(axis|cell) /.test(state.other) && partner === null ? 'The grid has no such cell.' : 'It has no picture.')];
  else content = STAGES[state.mode](cell, mine, other, partner);
  viewer.stage.className = `stage ${state.mode}`;
  viewer.stage.replaceChildren(...content);
  placeBoxes();
}

// --- what can be chosen ---------------------------------------------------------------------------

const setMode = (mode) => {
  state.mode = mode;
  showComparison();
};

compare.look.append(...MODES.map(([mode, text], n) => el('button', {
  type: 'button', value: mode, title: `Key ${n + 1}`, on: { click: () => setMode(mode) },
}, text)));

function partnerOptions(cell) {
  const chosen = state.other || 'content';
  const option = (value, text) => el('option', { value, selected: value === chosen }, text);
  const groups = ['content', 'style'].flatMap((axis) => sourceFiles(axis, cell).map((_, n) => option(n ? `${axis} ${n + 1}` : axis, n ? `${axis}, picture ${n + 1}` : axis)));
  const pinned = compare.pinned === null ? null : option(`cell ${keyOf(compare.pinned)}`, `marked: ${cellName(compare.pinned)}`);
  const picked = chosen.startsWith('cell ') && chosen !== (pinned && pinned.value) && cellOfKey(chosen.slice(5)) !== null
    ? option(chosen, cellName(cellOfKey(chosen.slice(5)))) : null;
  const along = varying.map((axis) => {
    const others = axis.values
      .map((value, place) => [value, place])
      .filter(([, place]) => place !== at[axis.name][cell] && neighbour(cell, axis.name, place) !== null);
    const own = `axis ${axis.name} ${axis.values[at[axis.name][cell]]}`;
    const same = chosen === own ? option(own, `${axis.shown[at[axis.name][cell]]} (itself)`) : null;
    return others.length || same ? el('optgroup', { label: `other ${labelText(axis.name)}` }, same,
      others.map(([value, place]) => option(`axis ${axis.name} ${value}`, `${labelText(axis.name)} ${axis.shown[place]}`))) : null;
  });
  const options = present([pinned, picked, groups, along]);
  const found = options.some((entry) => [entry, ...entry.children].some((one) => one.value === chosen));
  return found ? options : [option(chosen, 'not in the grid'), ...options];
}

// Which tools there are depends on what is shown.
function modeTools(cell) {
  if (state.mode === 'difference') {
    const times = el('select', { 'data-key': 'times', on: { change: () => {
      compare.times = Number(times.value);
      showStage(cell);
    } } }, [1, 4, 16].map((factor) => el('option', { value: factor, selected: factor === compare.times }, `× ${factor}`)));
    return [el('label', {}, el('span', {}, 'Brightness'), times), el('span', {}, 'Black is identical; the brighter, the more different.')];
  }
  if (state.mode !== 'flicker') return [];
  const hold = el('button', { type: 'button', class: 'plain', 'data-key': 'hold' }, 'Hold to see B');
  for (const [down, up] of [['pointerdown', 'pointerup'], ['pointerdown', 'pointerleave'], ['keydown', 'keyup'], ['keydown', 'blur']]) {
    hold.addEventListener(down, (event) => {
      if (down === 'pointerdown' || [' ', 'Enter'].includes(event.key)) showOther(true);
    });
    hold.addEventListener(up, () => showOther(false));
  }
  if (window.matchMedia('(prefers-reduced-motion: reduce)').matches) return [hold, el('span', {}, 'or hold the space bar')];
  const alternate = el('button', { type: 'button', class: 'plain', 'data-key': 'alternate', 'aria-pressed': 'false', on: { click: () => {
    const on = compare.timer === null;
    stopFlicker();
    alternate.setAttribute('aria-pressed', String(on));
    if (on) compare.timer = window.setInterval(() => showOther(!viewer.stage.classList.contains('other')), FLICKER_MS);
  } } }, 'Alternate');
  return [hold, alternate, el('span', {}, 'or hold the space bar')];
}

function showOther(on) {
  viewer.stage.classList.toggle('other', on);
  const shown = document.getElementById('flicker-shown');
  if (shown) shown.textContent = on ? 'B' : 'A';
}

function stopFlicker() {
  window.clearInterval(compare.timer);
  compare.timer = null;
  showOther(false);
}

function showTools(cell) {
  for (const button of compare.look.children) button.setAttribute('aria-pressed', String(button.value === state.mode));
  const focused = document.activeElement && document.activeElement.dataset.key;
  const partner = el('select', { 'data-key': 'partner', on: { change: () => {
    state.other = partner.value;
    if (state.mode === 'picture') state.mode = 'slide';
    showComparison();
  } } }, partnerOptions(cell));
  const tool = (key, text, label, act) => el('button', { type: 'button', class: 'round', 'data-key': key, 'aria-label': label, title: label, on: { click: act } }, text);
  compare.tools.replaceChildren(...present([
    state.mode === 'picture' ? filmTools(cell) : stopFilm(),
    el('label', {}, el('span', {}, 'B is'), partner),
    el('button', { type: 'button', class: 'plain', 'data-key': 'pick', on: { click: () => pickPartner(cell) } }, 'Pick in the matrix'),
    el('button', { type: 'button', class: 'plain', 'data-key': 'pin', 'aria-pressed': String(compare.pinned === cell), on: { click: () => {
      pinCell(cell);
      showTools(cell);
    } } }, 'Compare others with this'),
    modeTools(cell),
    el('span', { class: 'zoom' },
      tool('out', '−', 'Smaller (key −)', () => zoomTo(viewer.zoom / 1.5)),
      tool('fit', 'Fit', 'Whole picture (key 0)', resetZoom),
      tool('in', '+', 'Larger (key +)', () => zoomTo(viewer.zoom * 1.5))),
  ]));
  const again = focused && compare.tools.querySelector(`[data-key="${CSS.escape(focused)}"]`);
  if (again) again.focus();
}

// Mark a cell, or take its mark away: others are then compared with it.
function pinCell(cell) {
  compare.pinned = compare.pinned === cell ? null : cell;
  state.other = compare.pinned === null ? 'content' : `cell ${keyOf(cell)}`;
}

function pickPartner(cell) {
  const mode = state.mode === 'picture' ? 'slide' : state.mode;
  const { walk } = detail;
  detail.dialog.close();
  show('matrix');
  pickCell((other) => {
    if (other !== null) {
      state.other = `cell ${keyOf(other)}`;
      state.mode = mode;
    }
    openCell(cell, walk);
  });
  focusCell(matrix.spot.has(cell) ? cell : matrix.spot.keys().next().value);
}

// --- what differs ---------------------------------------------------------------------------------

// The metrics of a cell, beside those of the other cell that it is compared with.
function comparisonOf(cell) {
  const partner = partnerOf(cell);
  if (partner === null || partner.cell === undefined || partner.cell === cell) return section('Metrics', metricList(cell));
  const other = partner.cell;
  return section('A and B', el('div', {},
    el('p', { class: 'empty' }, 'B is ', el('button', { type: 'button', class: 'link', on: { click: () => showCell(other) } }, cellName(other))),
    pairTable('Settings that differ', ['setting', 'A', 'B'], settingPairs(cell, other), 'All settings are the same.'),
    pairTable('Metrics, and their change from A to B', ['metric', 'A', 'B', 'change'], metricPairs(cell, other), 'Neither was measured.')));
}

function settingPairs(cell, other) {
  const places = axes
    .filter((axis) => !(axis.name in run.settings.own) && at[axis.name][cell] !== at[axis.name][other])
    .map((axis) => [labelText(axis.name), valueOf(axis.name, cell), valueOf(axis.name, other)]);
  const settings = Object.entries(run.settings.own)
    .filter(([, values]) => values[cell] !== values[other])
    .map(([name, values]) => [labelText(name), values[cell] ?? '–', values[other] ?? '–']);
  return [...places, ...settings];
}

function metricPairs(cell, other) {
  return Object.entries(run.metrics)
    .map(([name, values]) => [name, values[cell], values[other]])
    .filter(([, mine, its]) => mine !== null || its !== null)
    .map(([name, mine, its]) => [labelText(name), numberText(mine), numberText(its), changeText(mine, its)]);
}

// From A to B, in percent of A.
function changeText(mine, its) {
  if (mine === null || its === null || mine === 0) return '–';
  const percent = (100 * (its - mine)) / Math.abs(mine);
  if (percent === 0) return '0 %';
  const digits = Math.abs(percent) >= 10 ? 0 : 1;
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(digits)} %`;
}

function pairTable(title, heads, rows, otherwise) {
  if (!rows.length) return el('p', { class: 'empty' }, otherwise);
  return el('table', { class: 'pairs' }, el('caption', {}, title),
    el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col' }, head)))),
    el('tbody', {}, rows.map(([name, ...values]) => el('tr', {},
      el('th', { scope: 'row' }, ...breakable(name)), values.map((value) => el('td', {}, ...breakable(value)))))));
}
