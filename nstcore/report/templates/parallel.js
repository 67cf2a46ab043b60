// Parallel coordinates: a vertical axis for each axis and metric, a line for each cell, brushes.

const PARALLEL_EDGE = { side: 58, top: 48, bottom: 14 };
const PARALLEL_HEIGHT = 380;
const PARALLEL_GAP = 96; // the least between two axes: where there is less room, the plot scrolls
const PARALLEL_REACH = 8; // pixels from a line within which a pointer means it
const BAND = 7; // pixels that the brush of a single value extends to either side
const HANDLE_STEPS = 50; // presses of an arrow key from one end of a metric to the other

const parallel = {
  shadow: el('canvas', { class: 'shadow', 'aria-hidden': 'true' }), // all cells, faint, behind the selected
  canvas: el('canvas', { 'aria-hidden': 'true' }),
  picture: svg('svg', { 'aria-hidden': 'true' }),
  mark: svg('path', { class: 'pointed' }),
  card: el('div', { class: 'card', 'aria-hidden': 'true', hidden: true }),
  strips: el('div', { class: 'strips' }),
  scroller: null,
  box: null,
  columns: [], // each with where it stands: x, and its scale y
  ends: new Map(), // name => the two handles and the band between
  selected: [],
  boxes: [],
  drawn: '', // what the axes and the shadow were drawn for
  stop: () => {}, // ends a drawing that goes on over several frames
  stopShadow: () => {},
  drag: null,
};

const shownMetrics = () => state.lines.split(' ').filter(metricNamed);

function layParallel() {
  const columns = [...axisColumns, ...shownMetrics().map((name) => columnOf.get(name))];
  const { side, top, bottom } = PARALLEL_EDGE;
  const width = Math.max(parallel.scroller.clientWidth, 2 * side + (columns.length - 1) * PARALLEL_GAP);
  const gap = columns.length > 1 ? (width - 2 * side) / (columns.length - 1) : 0;
  const drawn = [columns.map((column) => column.name), width, themeColour('--faint')].join();
  if (drawn === parallel.drawn) return width;
  parallel.drawn = drawn;
  parallel.columns = columns.map((column, n) => {
    const y = scaleOf(column, PARALLEL_HEIGHT - bottom, top);
    return { ...column, x: columns.length > 1 ? side + n * gap : width / 2, y, spots: Float32Array.from(column.at, y) };
  });
  parallel.box.style.setProperty('width', `${width}px`);
  parallel.box.style.setProperty('height', `${PARALLEL_HEIGHT}px`);
  parallel.picture.setAttribute('viewBox', `0 0 ${width} ${PARALLEL_HEIGHT}`);
  parallel.picture.setAttribute('width', width);
  parallel.picture.setAttribute('height', PARALLEL_HEIGHT);
  parallel.picture.replaceChildren(...parallel.columns.flatMap((column) => [
    svg('line', { class: 'axis', x1: column.x, x2: column.x, y1: top, y2: PARALLEL_HEIGHT - bottom }),
    ...ticksOf(column, column.y, column.axis ? 18 : 28).map((tick) => tickText(column.x + 8, column.y(tick) + 4, 'start', shortened(column.text(tick), 14))),
  ]), parallel.mark);
  parallel.ends.clear();
  parallel.strips.replaceChildren(...parallel.columns.map((column) => parallelStrip(column, gap || width)));
  parallel.stopShadow();
  const context = clearedCanvas(parallel.shadow, width, PARALLEL_HEIGHT);
  context.strokeStyle = themeColour('--faint');
  context.globalAlpha = lineStrength(count);
  parallel.stopShadow = drawSpread(everyCell, (cell) => strokeCell(context, cell));
  return width;
}

const lineStrength = (lines) => Math.max(0.12, Math.min(0.9, Math.sqrt(40 / Math.max(1, lines))));

function strokeCell(context, cell) {
  context.beginPath();
  traceCell(cell, (x, y) => context.moveTo(x, y), (x, y) => context.lineTo(x, y));
  context.stroke();
}

// A line through a cell's numbers, broken where one is missing.
function traceCell(cell, moveTo, lineTo) {
  let down = false;
  for (const { x, spots } of parallel.columns) {
    const y = spots[cell];
    if (!Number.isNaN(y)) (down ? lineTo : moveTo)(x, y);
    down = !Number.isNaN(y);
  }
}

function drawParallel() {
  const width = layParallel();
  placeBrushes();
  parallel.selected = selection.cells();
  parallel.shadow.hidden = !selection.active();
  parallel.stop();
  const context = clearedCanvas(parallel.canvas, width, PARALLEL_HEIGHT);
  const colouring = colouringBy(state.hue);
  context.globalAlpha = lineStrength(parallel.selected.length);
  context.lineWidth = 1.2;
  parallel.stop = drawSpread(parallel.selected, (cell) => {
    context.strokeStyle = colouring.colours[colouring.of(cell)];
    strokeCell(context, cell);
  });
  markParallel();
  for (const box of parallel.boxes) box.checked = shownMetrics().includes(box.value);
}

function markParallel() {
  const steps = [];
  if (scatter.cell !== null) traceCell(scatter.cell, (x, y) => steps.push(`M${x},${y}`), (x, y) => steps.push(`L${x},${y}`));
  parallel.mark.setAttribute('d', steps.join('') || 'M0,0');
}

// An axis to brush along: its name, the band of the brush, a handle at either end.
function parallelStrip(column, gap) {
  const label = labelText(column.name);
  const { top, bottom } = PARALLEL_EDGE;
  const clear = el('button', {
    type: 'button', class: 'clear', 'aria-label': `Clear the range of ${label}`, hidden: true,
    on: { click: () => { selectRange(column.name, -Infinity, Infinity); handles[0].focus(); } },
  }, '×');
  const handles = ['from', 'to'].map((word, end) => el('div', {
    class: 'brush-end', role: 'slider', tabindex: 0, 'aria-orientation': 'vertical', 'aria-label': `${label} ${word}`,
    on: { keydown: (event) => onHandleKey(event, column, end) },
  }));
  const band = el('div', { class: 'band', hidden: true });
  const track = el('div', {
    class: 'track', style: { height: `${PARALLEL_HEIGHT - top - bottom}px`, top: `${top}px` },
    on: {
      pointerdown: (event) => startBrush(event, column, handles.indexOf(event.target)),
      pointermove: (event) => { if (parallel.drag) brush(event); },
      pointerup: endBrush,
      pointercancel: () => { parallel.drag = null; },
      dblclick: () => selectRange(column.name, -Infinity, Infinity),
    },
  }, band, handles);
  parallel.ends.set(column.name, { column, handles, band, clear });
  return el('div', { class: 'strip', style: { left: `${column.x}px`, '--gap': `${Math.min(gap, 180) - 8}px` } },
    el('div', { class: 'axis-name' }, el('span', { title: label }, ...breakable(label)), clear), track);
}

// The ends of a column's brush in its own numbers, those of all cells where it is open.
function brushEnds(column) {
  const [low, high] = selection.ranges.get(column.name) || [-Infinity, Infinity];
  return [Math.max(low, column.domain[0]), Math.min(high, column.domain[1])];
}

function placeBrushes() {
  for (const [name, { column, handles, band, clear }] of parallel.ends) {
    const { top } = PARALLEL_EDGE;
    const ranged = selection.ranges.has(name);
    const ends = brushEnds(column);
    const wide = column.axis ? BAND : 0;
    const spots = [column.y(ends[0]) - top + wide, column.y(ends[1]) - top - wide];
    handles.forEach((handle, end) => {
      handle.style.setProperty('top', `${spots[end]}px`);
      handle.setAttribute('aria-valuemin', column.domain[0]);
      handle.setAttribute('aria-valuemax', column.domain[1]);
      handle.setAttribute('aria-valuenow', ends[end]);
      handle.setAttribute('aria-valuetext', column.text(ends[end]));
    });
    band.hidden = !ranged;
    clear.hidden = !ranged;
    band.style.setProperty('top', `${Math.min(...spots)}px`);
    band.style.setProperty('height', `${Math.abs(spots[0] - spots[1])}px`);
  }
}

// Select what lies between two numbers of a column; an axis snaps to its values, and an end beyond
// all cells is open.
function brushBetween(column, one, other) {
  let [low, high] = [Math.min(one, other), Math.max(one, other)];
  if (column.axis) {
    const inside = column.values.filter((value) => value >= low && value <= high);
    const distance = (value) => Math.abs(column.y(value) - column.y(other));
    if (!inside.length) inside.push(d3.least(column.values, distance));
    [low, high] = [inside[0], inside.at(-1)];
  }
  selectRange(column.name, low <= column.domain[0] ? -Infinity : low, high >= column.domain[1] ? Infinity : high);
}

const trackNumber = (column, event) => column.y.invert(pointIn(event.currentTarget, event)[1] + PARALLEL_EDGE.top);

function startBrush(event, column, end) {
  if (event.button !== 0) return;
  const ends = brushEnds(column);
  // Pulling at one handle keeps the other end where it is.
  const from = end < 0 ? trackNumber(column, event) : ends[1 - end];
  parallel.drag = { column, from, end, start: event.clientY, moved: false };
  event.currentTarget.setPointerCapture(event.pointerId);
}

function brush(event) {
  const { drag } = parallel;
  drag.moved ||= Math.abs(event.clientY - drag.start) > DRAG_LEAST;
  if (drag.moved) brushBetween(drag.column, drag.from, trackNumber(drag.column, event));
}

// A click without a drag selects the value of an axis that is nearest.
function endBrush(event) {
  const { drag } = parallel;
  parallel.drag = null;
  if (!drag || drag.moved || drag.end >= 0 || !drag.column.axis) return;
  const number = trackNumber(drag.column, event);
  brushBetween(drag.column, number, number);
}

const HANDLE_KEYS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 5, PageDown: -5, Home: -1e9, End: 1e9 };

function onHandleKey(event, column, end) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === 'Escape' || event.key === 'Delete' || event.key === 'Backspace') {
    selectRange(column.name, -Infinity, Infinity);
  } else if (HANDLE_KEYS[event.key]) {
    const ends = brushEnds(column);
    ends[end] = stepped(column, ends[end], HANDLE_KEYS[event.key]);
    // One end stops at the other.
    ends[end] = end ? Math.max(ends[0], ends[1]) : Math.min(ends[0], ends[1]);
    brushBetween(column, ends[1 - end], ends[end]);
  } else {
    return;
  }
  event.preventDefault();
}

function stepped(column, number, steps) {
  if (column.axis) {
    const place = d3.leastIndex(column.values, (value) => Math.abs(value - number)) + steps;
    return column.values[Math.max(0, Math.min(column.values.length - 1, place))];
  }
  const [from, to] = column.y.range();
  const spot = column.y(number) + (steps * (to - from)) / HANDLE_STEPS;
  return column.y.invert(Math.max(Math.min(from, to), Math.min(Math.max(from, to), spot)));
}

// The selected cell whose line passes nearest to a place between two axes.
function lineNear(x, y) {
  const right = parallel.columns.findIndex((column) => column.x > x);
  if (right < 1) return null;
  const [one, other] = [parallel.columns[right - 1], parallel.columns[right]];
  const part = (x - one.x) / (other.x - one.x);
  let [found, least] = [null, PARALLEL_REACH];
  for (const cell of parallel.selected) {
    const off = Math.abs(one.spots[cell] + part * (other.spots[cell] - one.spots[cell]) - y);
    if (off < least) [found, least] = [cell, off];
  }
  return found;
}

function pointInParallel(event) {
  if (parallel.drag) return;
  const cell = event.target.closest('.strip') ? null : lineNear(...pointIn(parallel.box, event));
  pointAt(cell);
  parallel.card.hidden = cell === null;
  if (cell === null) return;
  parallel.card.replaceChildren(...cellCard(cell, shownMetrics()));
  placeCard(parallel.card, ...pointIn(parallel.scroller, event), parallel.scroller.clientWidth);
}

function leaveParallel() {
  pointAt(null);
  parallel.card.hidden = true;
}

function metricChoice() {
  parallel.boxes = metricColumns.map(({ name }) => el('input', {
    type: 'checkbox', value: name,
    on: { change: () => exploreChose('lines', parallel.boxes.filter((box) => box.checked).map((box) => box.value).join(' ')) },
  }));
  return el('details', { class: 'choice' }, el('summary', {}, 'Metrics shown'), el('div', { class: 'checks' },
    parallel.boxes.map((box) => el('label', {}, box, labelText(box.value)))));
}

function buildParallel() {
  parallel.box = el('div', {
    class: 'plot parallel', id: 'parallel', role: 'group', 'aria-label': 'Parallel coordinates with a range to choose on each axis',
    on: {
      pointermove: pointInParallel,
      pointerleave: leaveParallel,
      click: (event) => {
        const cell = event.target.closest('.strip') ? null : lineNear(...pointIn(parallel.box, event));
        if (cell !== null) openCell(cell, walkScatter);
      },
    },
  }, parallel.shadow, parallel.canvas, parallel.picture, parallel.strips);
  parallel.scroller = el('div', { class: 'sideways' }, parallel.box);
  return panel('Parallel coordinates', [metricChoice()],
    el('div', { class: 'around' }, parallel.scroller, parallel.card),
    el('p', { class: 'caption' }, 'A line is a cell. Drag along an axis to select a range, double-click to clear it; with the keyboard, arrow keys move the ends of a range.'));
}
