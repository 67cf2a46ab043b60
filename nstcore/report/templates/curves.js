// Loss curves, drawn as SVG.

const curvesOf = (cell) => chunkOf('curves', cell);

// Iterations count anew on each level of the pyramid: an axis shows their running number.
function runningIterations(curves) {
  const running = [];
  let before = 0;
  curves.iteration.forEach((iteration, n) => {
    if (n && iteration <= curves.iteration[n - 1]) before = running[n - 1];
    running.push(before + iteration);
  });
  return running;
}

const CURVES = ['total_loss', 'content_loss', 'style_loss', 'tv_loss'];

function drawCurves(curves) {
  const width = 420;
  const height = 190;
  const edge = { left: 46, right: 8, top: 8, bottom: 24 };
  const steps = curves.iteration.map((_, n) => n);
  const shown = CURVES.filter((name) => (curves[name] || []).some((v) => v > 0));
  const values = shown.flatMap((name) => curves[name].filter((v) => v > 0));
  if (!values.length) return el('p', { class: 'empty' }, 'The trace holds no loss above zero.');
  let low = Math.log10(Math.min(...values));
  let high = Math.log10(Math.max(...values));
  if (high - low < 0.2) [low, high] = [low - 0.1, high + 0.1];
  const running = runningIterations(curves);
  const [first, last] = [running[0], running[running.length - 1]];
  const x = (v) => edge.left + ((v - first) / Math.max(1, last - first)) * (width - edge.left - edge.right);
  const y = (v) => height - edge.bottom - ((Math.log10(v) - low) / (high - low)) * (height - edge.top - edge.bottom);
  const parts = [];
  for (const tick of ticks(low, high)) {
    parts.push(svg('line', { class: 'grid', x1: edge.left, x2: width - edge.right, y1: y(tick), y2: y(tick) }));
    parts.push(svg('text', { class: 'tick', x: edge.left - 6, y: y(tick) + 4, 'text-anchor': 'end' }, numberText(tick)));
  }
  for (const n of steps.slice(1)) {
    if (curves.level[n] !== curves.level[n - 1]) {
      parts.push(svg('line', { class: 'level', x1: x(running[n]), x2: x(running[n]), y1: edge.top, y2: height - edge.bottom }));
    }
  }
  parts.push(svg('text', { class: 'tick', x: edge.left, y: height - 8 }, String(first)));
  parts.push(svg('text', { class: 'tick', x: width - edge.right, y: height - 8, 'text-anchor': 'end' }, `${last} iterations`));
  for (const name of shown) {
    const points = steps.filter((n) => curves[name][n] > 0).map((n) => `${x(running[n]).toFixed(1)},${y(curves[name][n]).toFixed(1)}`);
    parts.push(svg('polyline', { class: `curve ${name}`, points: points.join(' ') }));
  }
  const legend = shown.map((name) => {
    const end = curves[name].filter((v) => v !== null).at(-1);
    return el('li', {}, el('i', { class: name }), `${labelText(name)} ${numberText(end)}`);
  });
  const picture = svg('svg', { viewBox: `0 0 ${width} ${height}`, class: 'chart', role: 'img', 'aria-label': 'Loss against iterations, logarithmic' }, ...parts);
  return el('div', {}, picture, el('ul', { class: 'legend' }, ...legend));
}

// Powers of ten, with their 2 and 5 where there is room.
function ticks(low, high) {
  const steps = high - low > 3 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
  const found = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
    for (const step of steps) {
      const value = step * 10 ** power;
      if (Math.log10(value) >= low && Math.log10(value) <= high) found.push(value);
    }
  }
  return found.length > 8 ? found.filter((_, n) => n % Math.ceil(found.length / 8) === 0) : found;
}
