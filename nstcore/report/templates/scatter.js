// Two metrics against each other: a point for each cell, the Pareto front and its knee.

const SCATTER_EDGE = { left: 56, right: 14, top: 12, bottom: 40 };
const SCATTER_REACH = 26; // pixels from a point within which a pointer means it
const DRAG_LEAST = 5; // a pointer that moves less was meant as a click

const scatter = {
  canvas: el('canvas', { 'aria-hidden': 'true' }),
  picture: svg('svg', { 'aria-hidden': 'true' }),
  mark: svg('circle', { class: 'pointed', r: 8 }),
  frame: svg('rect', { class: 'rubber' }),
  card: el('div', { class: 'card', 'aria-live': 'polite', hidden: true }),
  caption: el('p', { class: 'caption' }),
  box: null,
  x: null,
  y: null,
  near: null, // a quadtree of the selected cells that have a point
  byX: [],
  byY: [],
  knee: null,
  cell: null, // the cell pointed at, here or in another plot
  carded: null, // the cell whose card is shown
  only: null,
  drag: null,
};

// 1 where more of a metric is better, -1 where less is, 0 where neither is.
const senseOf = (name) => run.senses[name] || 0;

// The Pareto front of finished cells, best of the first metric first, and its knee.
function frontOf(cells, one, other) {
  const [a, b] = [senseOf(one), senseOf(other)];
  if (!a || !b || !columnOf.has(one) || !columnOf.has(other)) return { front: [], knee: null };
  const made = cells.filter((cell) => run.cells.status[cell] === 'ok');
  const points = made.map((cell) => [-a * columnOf.get(one).at[cell], -b * columnOf.get(other).at[cell]]);
  const { front, knee } = paretoFront(points);
  return { front: front.map((n) => made[n]), knee: knee === null ? null : made[knee] };
}

function drawScatter() {
  const [one, other] = [columnOf.get(state.x), columnOf.get(state.y)];
  const width = scatter.box.clientWidth;
  const height = Math.round(Math.max(280, Math.min(480, width * 0.55)));
  const { left, right, top, bottom } = SCATTER_EDGE;
  scatter.x = scaleOf(one, left, width - right);
  scatter.y = scaleOf(other, height - bottom, top);
  const spotX = (cell) => scatter.x(one.at[cell]);
  const spotY = (cell) => scatter.y(other.at[cell]);
  const shown = everyCell.filter((cell) => !Number.isNaN(one.at[cell]) && !Number.isNaN(other.at[cell]));
  const selected = shown.filter(selection.has);
  scatter.near = d3.quadtree(selected, spotX, spotY);
  scatter.byX = [...selected].sort((a, b) => one.at[a] - one.at[b] || other.at[a] - other.at[b] || a - b);
  scatter.byY = [...selected].sort((a, b) => other.at[a] - other.at[b] || one.at[a] - one.at[b] || a - b);

  const context = clearedCanvas(scatter.canvas, width, height);
  const radius = shown.length > 2000 ? 2.2 : shown.length > 300 ? 3 : 4.5;
  const dots = (cells, colour, filled) => {
    context.beginPath();
    for (const cell of cells) {
      context.moveTo(spotX(cell) + radius, spotY(cell));
      context.arc(spotX(cell), spotY(cell), radius, 0, 2 * Math.PI);
    }
    context.fillStyle = colour;
    context.strokeStyle = colour;
    if (filled) context.fill();
    else context.stroke();
  };
  if (selected.length < shown.length) dots(shown.filter((cell) => !selection.has(cell)), themeColour('--faint'), true);
  const colouring = colouringBy(state.hue);
  for (const [n, cells] of d3.group(selected, colouring.of)) {
    dots(cells.filter((cell) => run.cells.status[cell] === 'ok'), colouring.colours[n], true);
    dots(cells.filter((cell) => run.cells.status[cell] !== 'ok'), colouring.colours[n], false);
  }

  const { front, knee } = frontOf(selected, state.x, state.y);
  scatter.knee = knee;
  const stairs = front.map((cell, n) => (n ? `H${spotX(cell)}V${spotY(cell)}` : `M${spotX(cell)},${spotY(cell)}`));
  const kneeRight = knee !== null && spotX(knee) < width - 90;
  scatter.picture.setAttribute('viewBox', `0 0 ${width} ${height}`);
  scatter.picture.setAttribute('width', width);
  scatter.picture.setAttribute('height', height);
  scatter.box.style.setProperty('height', `${height}px`);
  scatter.picture.replaceChildren(
    ...ticksOf(one, scatter.x, 70).flatMap((tick) => [
      svg('line', { class: 'grid', x1: scatter.x(tick), x2: scatter.x(tick), y1: top, y2: height - bottom }),
      tickText(scatter.x(tick), height - bottom + 16, 'middle', one.text(tick)),
    ]),
    ...ticksOf(other, scatter.y, 36).flatMap((tick) => [
      svg('line', { class: 'grid', x1: left, x2: width - right, y1: scatter.y(tick), y2: scatter.y(tick) }),
      tickText(left - 6, scatter.y(tick) + 4, 'end', other.text(tick)),
    ]),
    tickText(width - right, height - 6, 'end', axisTitle(one)),
    svg('text', { class: 'tick', transform: `translate(12 ${top}) rotate(-90)`, 'text-anchor': 'end' }, axisTitle(other)),
    svg('path', { class: 'front', d: stairs.join('') }),
    ...front.map((cell) => svg('circle', { class: 'front', cx: spotX(cell), cy: spotY(cell), r: radius + 1.5 })),
    ...(knee === null ? [] : [
      svg('circle', { class: 'knee', cx: spotX(knee), cy: spotY(knee), r: radius + 5 }),
      svg('text', {
        class: 'knee', x: spotX(knee) + (kneeRight ? 1 : -1) * (radius + 9), y: spotY(knee) - radius - 5,
        'text-anchor': kneeRight ? 'start' : 'end',
      }, 'knee'),
    ]),
    scatter.mark, scatter.frame,
  );
  captionScatter(front, knee, count - shown.length);
  if (scatter.cell !== null && !selected.includes(scatter.cell)) pointInScatter(null);
  markScatter();
}

// A metric's name, with which way is better and how its numbers are spread.
function axisTitle(column) {
  const better = { 1: ', more is better', '-1': ', less is better' }[senseOf(column.name)] || '';
  return `${labelText(column.name)}${column.log ? ' (log)' : ''}${better}`;
}

function captionScatter(front, knee, without) {
  const some = (n) => `${n} ${n === 1 ? 'cell' : 'cells'}`;
  scatter.caption.replaceChildren(...present([
    front.length
      ? `${some(front.length)} on the Pareto front: none beats them in both. `
      : senseOf(state.x) && senseOf(state.y) ? 'No finished cell is selected. ' : 'Neither more nor less of such a metric is better: there is no front. ',
    without ? `${some(without)} without these numbers. ` : null,
    knee === null ? null : ['Its knee: ', el('button', {
      type: 'button', class: 'inline-link', on: { click: () => openCell(knee, walkScatter) },
    }, cellName(knee))],
  ]));
  scatter.only.disabled = !selection.front && !front.length;
  scatter.only.setAttribute('aria-pressed', String(selection.front));
}

function markScatter() {
  const { cell, mark } = scatter;
  const spot = cell === null ? [NaN, NaN] : [scatter.x(columnOf.get(state.x).at[cell]), scatter.y(columnOf.get(state.y).at[cell])];
  mark.toggleAttribute('hidden', spot.some(Number.isNaN));
  if (spot.some(Number.isNaN)) return;
  mark.setAttribute('cx', spot[0]);
  mark.setAttribute('cy', spot[1]);
}

// Show the card of a cell beside its point.
function cardScatter(cell) {
  if (cell === scatter.carded) return;
  scatter.carded = cell;
  scatter.card.hidden = cell === null;
  if (cell === null) return;
  scatter.card.replaceChildren(...cellCard(cell, [state.x, state.y, metricNamed(state.hue)]));
  placeCard(scatter.card, Number(scatter.mark.getAttribute('cx')), Number(scatter.mark.getAttribute('cy')), scatter.box.clientWidth);
}

const metricNamed = (name) => (columnOf.has(name) && !columnOf.get(name).axis ? name : null);

function walkScatter(cell, across, down) {
  // Up on the plot is more of the vertical metric.
  return across ? scatter.byX[scatter.byX.indexOf(cell) + across] : scatter.byY[scatter.byY.indexOf(cell) - down];
}

function pointInScatter(cell) {
  pointAt(cell);
  cardScatter(cell);
}

const SCATTER_KEYS = {
  ArrowLeft: (cell) => walkScatter(cell, -1, 0),
  ArrowRight: (cell) => walkScatter(cell, 1, 0),
  ArrowUp: (cell) => walkScatter(cell, 0, -1),
  ArrowDown: (cell) => walkScatter(cell, 0, 1),
  Home: () => scatter.byX[0],
  End: () => scatter.byX.at(-1),
};

function onScatterKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const { cell } = scatter;
  if (event.key === 'Escape') {
    dropFrame();
  } else if (event.key === 'Enter' || event.key === ' ') {
    if (cell !== null) openCell(cell, walkScatter);
  } else if (event.key === 'Delete' || event.key === 'Backspace') {
    for (const name of [state.x, state.y]) selectRange(name, -Infinity, Infinity);
  } else if (SCATTER_KEYS[event.key]) {
    const next = cell === null ? scatter.byX[0] : SCATTER_KEYS[event.key](cell);
    if (next !== undefined) pointInScatter(next);
  } else {
    return;
  }
  event.preventDefault();
}

// The rectangle from where a drag began to where the pointer is, within the plot.
function framed(event) {
  const [x, y] = pointIn(scatter.box, event);
  const within = (value, [a, b]) => Math.max(Math.min(a, b), Math.min(Math.max(a, b), value));
  const xs = [scatter.drag.from[0], x].map((value) => within(value, scatter.x.range()));
  const ys = [scatter.drag.from[1], y].map((value) => within(value, scatter.y.range()));
  return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
}

function dropFrame() {
  scatter.drag = null;
  scatter.frame.toggleAttribute('hidden', true);
}

function onScatterMove(event) {
  if (!scatter.drag) {
    const found = scatter.near.find(...pointIn(scatter.box, event), SCATTER_REACH);
    pointInScatter(found === undefined ? null : found);
    return;
  }
  const { left, right, top, bottom } = framed(event);
  scatter.drag.moved ||= right - left > DRAG_LEAST || bottom - top > DRAG_LEAST;
  if (!scatter.drag.moved) return;
  pointInScatter(null);
  for (const [name, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) {
    scatter.frame.setAttribute(name, value);
  }
  scatter.frame.toggleAttribute('hidden', false);
}

function onScatterUp(event) {
  if (!scatter.drag) return;
  const { moved, touched } = scatter.drag;
  const { left, right, top, bottom } = framed(event);
  dropFrame();
  if (moved) {
    const within = (column, low, high) => scatter.byX.filter((cell) => column.at[cell] >= low && column.at[cell] <= high);
    const ends = [[state.x, scatter.x.invert(left), scatter.x.invert(right)], [state.y, scatter.y.invert(bottom), scatter.y.invert(top)]];
    const [inX, inY] = ends.map(([name, low, high]) => new Set(within(columnOf.get(name), low, high)));
    // A rectangle around nothing was not meant.
    if ([...inX].some((cell) => inY.has(cell))) ends.forEach(([name, ...end]) => brushBetween(columnOf.get(name), ...end));
    return;
  }
  const found = scatter.near.find(...pointIn(scatter.box, event), SCATTER_REACH);
  if (found === undefined) return;
  // A finger has no way to point without touching: its first touch points, its second opens.
  if (event.pointerType === 'touch' && touched !== found) pointInScatter(found);
  else openCell(found, walkScatter);
}

function buildScatter() {
  scatter.only = el('button', {
    type: 'button', class: 'toggle', 'aria-pressed': 'false', on: { click: () => selectFront(!selection.front) },
  }, 'Only the Pareto front');
  scatter.box = el('div', {
    class: 'plot', tabindex: 0, role: 'application', id: 'scatter',
    'aria-label': 'Scatter plot of the cells. Left and right arrow keys walk by the horizontal metric, up and down by the vertical one, Enter opens a cell.',
    on: {
      keydown: onScatterKey,
      focus: () => {
        if (!scatter.box.matches(':focus-visible') || scatter.cell !== null) return;
        const first = [detail.cell, scatter.knee, scatter.byX[0]].find((cell) => scatter.byX.includes(cell));
        if (first !== undefined) pointInScatter(first);
      },
      blur: () => pointInScatter(null),
      pointerdown: (event) => {
        if (event.button !== 0) return;
        scatter.drag = { from: pointIn(scatter.box, event), moved: false, touched: scatter.cell };
        scatter.box.setPointerCapture(event.pointerId);
      },
      pointermove: onScatterMove,
      pointerup: onScatterUp,
      pointercancel: dropFrame,
      pointerleave: (event) => { if (event.pointerType !== 'touch' && !scatter.drag && !scatter.box.matches(':focus-visible')) pointInScatter(null); },
    },
  }, scatter.canvas, scatter.picture, scatter.card);
  scatter.frame.toggleAttribute('hidden', true);
  return panel('Trade-off', [scatter.only],
    scatter.box, scatter.caption,
    el('p', { class: 'hint' }, 'Drag a rectangle to select, click a point to open its cell; with the keyboard, arrow keys and Enter.'));
}
