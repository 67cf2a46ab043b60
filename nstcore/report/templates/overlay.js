// A metric over the matrix: its number, its colour, the best and the worst.

const overlay = {
  legend: document.getElementById('matrix-legend'),
  low: 0,
  high: 1,
  logarithmic: false,
  best: null,
  worst: null,
};

const SENSES = { '-1': 'lower is better', 0: 'neither end is better', 1: 'higher is better' };
const FAR_APART = 30; // times the smallest value: then colours follow the logarithm

// Over the cells shown, or with the scale of the run over all; the marks are of those shown.
function measureOverlay(shown) {
  overlay.best = null;
  overlay.worst = null;
  const values = state.metric ? run.metrics[state.metric] : null;
  const measured = values ? shown.map((cell) => values[cell]).filter((value) => value !== null) : [];
  const scaled = values && state.scale === 'run' ? values.filter((value) => value !== null) : measured;
  overlay.legend.hidden = !scaled.length;
  if (!scaled.length) return;
  [overlay.low, overlay.high] = extent(scaled);
  overlay.logarithmic = overlay.low > 0 && overlay.high / overlay.low > FAR_APART;
  const sense = run.senses[state.metric];
  const [least, most] = measured.length ? extent(measured) : [null, null];
  if (sense && least !== most) [overlay.best, overlay.worst] = sense < 0 ? [least, most] : [most, least];
  drawLegend(sense);
}

function extent(values) {
  let [low, high] = [values[0], values[0]];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function drawLegend(sense) {
  overlay.legend.replaceChildren(
    el('span', {}, labelText(state.metric)),
    el('span', { class: 'ends' }, numberText(overlay.low),
      el('i', { class: 'ramp', 'aria-hidden': 'true' }), numberText(overlay.high)),
    el('span', {}, [
      state.scale === 'run' ? 'over the whole run' : 'over the cells shown',
      overlay.logarithmic ? 'logarithmic' : null,
      SENSES[sense],
    ].filter(Boolean).join(' · ')),
  );
}

// How far a value is from the lowest to the highest: 0 to 1.
function shareOf(value) {
  const [low, high, own] = overlay.logarithmic
    ? [Math.log(overlay.low), Math.log(overlay.high), Math.log(value)]
    : [overlay.low, overlay.high, value];
  return high > low ? (own - low) / (high - low) : 0;
}

function rankOf(cell) {
  const value = state.metric ? run.metrics[state.metric][cell] : null;
  if (value === null || overlay.best === null) return null;
  return value === overlay.best ? 'best' : value === overlay.worst ? 'worst' : null;
}

// What stands below a cell's picture.
function numberOf(cell) {
  if (!state.metric) return null;
  const value = run.metrics[state.metric][cell];
  const share = value === null ? null : `${(100 * shareOf(value)).toFixed(1)}%`;
  return el('span', { class: share === null ? 'number unknown' : 'number', style: share === null ? {} : { '--share': share } },
    numberText(value));
}

// On the picture, so that small cells have room for it.
function rankMark(cell) {
  const rank = rankOf(cell);
  return rank && el('b', { class: `rank ${rank}` }, rank);
}
