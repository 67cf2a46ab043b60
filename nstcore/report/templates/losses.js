// The loss curves of the selection in one plot.

const LOSS_MOST = 60;
const LOSS_WAIT_MS = 250; // curves come from the disk: not at every movement of a brush
const LOSS_EDGE = { left: 56, right: 14, top: 12, bottom: 40 };

const lossPlot = {
  picture: svg('svg', { 'aria-hidden': 'true' }),
  mark: svg('polyline', { class: 'pointed' }),
  card: el('div', { class: 'card', 'aria-hidden': 'true', hidden: true }),
  words: el('p', { class: 'caption', role: 'status' }),
  box: null,
  lines: [], // cell and its points, in pixels
  seen: false, // whether the plot was ever on the screen
  timer: 0,
  turn: 0,
};

function drawLosses() {
  clearTimeout(lossPlot.timer);
  if (lossPlot.seen) lossPlot.timer = setTimeout(loadLosses, LOSS_WAIT_MS);
}

async function loadLosses() {
  lossPlot.turn += 1;
  const { turn } = lossPlot;
  const made = selection.cells().filter((cell) => run.cells.thumb[cell]);
  const cells = thinned(made, LOSS_MOST);
  const found = await Promise.all(cells.map(curvesOf));
  // Another selection may have come meanwhile.
  if (turn !== lossPlot.turn || state.view !== 'explore') return;
  const curves = cells.flatMap((cell, n) => {
    const losses = (found[n] && found[n][state.loss]) || [];
    const steps = found[n] ? runningIterations(found[n]) : [];
    const points = steps.map((step, k) => [step, losses[k]]).filter(([, loss]) => loss > 0);
    return points.length ? [{ cell, points }] : [];
  });
  strokeLosses(curves);
  const chosen = made.length > cells.length ? `${cells.length} of the ${made.length} selected cells, evenly chosen` : `${curves.length} ${curves.length === 1 ? 'cell' : 'cells'}`;
  lossPlot.words.textContent = curves.length
    ? `${chosen}. Dashed: the optimization diverged.`
    : `No selected cell has a curve of ${labelText(state.loss)} above zero.`;
}

function strokeLosses(curves) {
  const width = lossPlot.box.clientWidth;
  const height = Math.round(Math.max(280, Math.min(480, width * 0.55)));
  const { left, right, top, bottom } = LOSS_EDGE;
  lossPlot.box.style.setProperty('height', `${height}px`);
  lossPlot.picture.setAttribute('viewBox', `0 0 ${width} ${height}`);
  lossPlot.picture.setAttribute('width', width);
  lossPlot.picture.setAttribute('height', height);
  lossPlot.lines = [];
  lossPlot.picture.replaceChildren();
  if (!curves.length) return;
  const all = curves.flatMap((curve) => curve.points);
  const [first, last] = d3.extent(all, ([step]) => step);
  const [low, high] = d3.extent(all, ([, loss]) => loss);
  const x = d3.scaleLinear([first, Math.max(last, first + 1)], [left, width - right]);
  // Curves that hardly fall are not blown up to look as if they did.
  const loss = { axis: null, log: true, domain: [Math.min(low, high / 1.5), Math.max(high, low * 1.5)] };
  const y = scaleOf(loss, height - bottom, top);
  const colouring = colouringBy(state.hue);
  lossPlot.lines = curves.map(({ cell, points }) => ({ cell, points: points.map(([step, loss]) => [x(step), y(loss)]) }));
  lossPlot.picture.replaceChildren(
    ...ticksOf(loss, y, 36).flatMap((tick) => [
      svg('line', { class: 'grid', x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      tickText(left - 6, y(tick) + 4, 'end', numberText(tick)),
    ]),
    ...x.ticks(Math.max(2, Math.floor(width / 90))).map((tick) => tickText(x(tick), height - bottom + 16, 'middle', tick.toLocaleString('en'))),
    tickText(width - right, height - 6, 'end', 'iterations, all levels'),
    svg('text', { class: 'tick', transform: `translate(12 ${top}) rotate(-90)`, 'text-anchor': 'end' }, `${labelText(state.loss)} (log)`),
    ...lossPlot.lines.map(({ cell, points }) => svg('polyline', {
      class: run.cells.status[cell] === 'ok' ? 'line' : 'line dashed', points: pointsText(points),
      style: { stroke: colouring.colours[colouring.of(cell)] },
    })),
    lossPlot.mark,
  );
  markLosses();
}

const pointsText = (points) => points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ');

function markLosses() {
  const line = lossPlot.lines.find(({ cell }) => cell === scatter.cell);
  lossPlot.mark.setAttribute('points', line ? pointsText(line.points) : '');
}

function curveNear(spot) {
  let [found, least] = [null, PARALLEL_REACH];
  for (const { cell, points } of lossPlot.lines) {
    const off = d3.min(points, (point) => Math.hypot(point[0] - spot[0], point[1] - spot[1]));
    if (off < least) [found, least] = [cell, off];
  }
  return found;
}

function pointInLosses(event) {
  const spot = pointIn(lossPlot.box, event);
  const cell = curveNear(spot);
  pointAt(cell);
  lossPlot.card.hidden = cell === null;
  if (cell === null) return;
  lossPlot.card.replaceChildren(...cellCard(cell, [state.loss, metricNamed(state.hue)]));
  placeCard(lossPlot.card, spot[0], spot[1], lossPlot.box.clientWidth);
}

function buildLosses() {
  lossPlot.box = el('div', {
    class: 'plot', id: 'losses', role: 'img', 'aria-label': 'Loss curves of the selected cells, logarithmic',
    on: {
      pointermove: pointInLosses,
      pointerleave: () => { pointAt(null); lossPlot.card.hidden = true; },
      click: (event) => {
        const cell = curveNear(pointIn(lossPlot.box, event));
        if (cell !== null) openCell(cell, walkScatter);
      },
    },
  }, lossPlot.picture, lossPlot.card);
  new IntersectionObserver((entries) => {
    if (lossPlot.seen || !entries.some((entry) => entry.isIntersecting)) return;
    lossPlot.seen = true;
    drawLosses();
  }).observe(lossPlot.box);
  return panel('Loss curves', [exploreSelect('Loss', 'loss', CURVES)], lossPlot.box, lossPlot.words);
}
