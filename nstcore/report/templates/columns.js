// All that a cell can be placed, brushed or coloured by, each as one number a cell: axes and metrics.

// Numbers that span more than this factor are read on a logarithmic scale.
const LOG_FACTOR = 30;

// The values of an axis that are all numbers stand where they belong, others in their order.
function axisColumn(axis) {
  const numbers = axis.values.map((value) => (value.trim() ? Number(value) : NaN));
  const numeric = !axis.pictures && numbers.every(Number.isFinite);
  const places = numeric ? numbers : axis.values.map((_, place) => place);
  const values = [...new Set(places)].sort((one, other) => one - other);
  return {
    name: axis.name,
    axis,
    ordinal: !numeric,
    values,
    domain: [values[0], values.at(-1)],
    log: numeric && values[0] > 0 && values.at(-1) / values[0] >= LOG_FACTOR,
    at: Float64Array.from(at[axis.name], (place) => places[place]),
    text: (number) => (places.includes(number) ? axis.shown[places.indexOf(number)] : numberText(number)),
    // How the address spells a number, and back.
    spelt: (number) => (numeric ? String(number) : axis.values[number]),
    read: (text) => (numeric ? Number(text) : axis.values.indexOf(text)),
  };
}

function metricColumn(name) {
  const numbers = Float64Array.from(run.metrics[name], (value) => (value === null ? NaN : value));
  const [low, high] = d3.extent(numbers);
  return {
    name,
    axis: null,
    ordinal: false,
    values: null,
    domain: [low, high],
    log: low > 0 && high / low >= LOG_FACTOR,
    at: numbers,
    text: numberText,
    spelt: String,
    read: Number,
  };
}

const axisColumns = varying.map(axisColumn);
const metricColumns = Object.keys(run.metrics).map(metricColumn).filter((column) => column.domain[0] !== undefined);
const columnOf = new Map([...axisColumns, ...metricColumns].map((column) => [column.name, column]));

// A scale from a column's numbers to pixels.  Half a place stays free at the ends of an order, and
// some room where all numbers are the same.
function scaleOf(column, from, to) {
  const [low, high] = column.domain;
  if (column.ordinal) return d3.scaleLinear([low - 0.5, high + 0.5], [from, to]);
  if (low === high) return d3.scaleLinear([low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2], [from, to]);
  return padded((column.log ? d3.scaleLog : d3.scaleLinear)([low, high], [from, to]), from, to);
}

// A twentieth of the length stays free before and after the cells, so that none is cut.
function padded(scale, from, to) {
  const room = (to - from) / 20;
  const inner = scale.copy().range([from + room, to - room]);
  return scale.domain([inner.invert(from), inner.invert(to)]);
}

// Where to write numbers along a scale: at the values of an axis as far as there is room, else at round ones.
function ticksOf(column, scale, room) {
  const [one, other] = scale.range();
  const most = Math.max(2, Math.floor(Math.abs(other - one) / room));
  if (!column.axis) return column.log ? logTicks(scale, most) : linearTicks(scale, most);
  const kept = [];
  for (const value of column.values) {
    if (!kept.length || Math.abs(scale(value) - scale(kept.at(-1))) >= room) kept.push(value);
  }
  return kept;
}

// Powers of ten, with their 2 and 5 or their 3 where there is room.
function logTicks(scale, most) {
  const [low, high] = scale.domain();
  const powers = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1);
  const choices = [[1, 2, 5], [1, 3], [1]].map((steps) => powers
    .flatMap((power) => steps.map((step) => Number(`${step}e${power}`)))
    .filter((tick) => tick >= low && tick <= high));
  const found = choices.find((ticks) => ticks.length <= most) || thinned(choices.at(-1), most);
  // Within less than a decade there may be none of these.
  return found.length > 1 ? found : linearTicks(scale, most);
}

// Round numbers; d3 gives some more or less than it is asked for.
function linearTicks(scale, most) {
  const counts = d3.range(most, 0, -1);
  const found = counts.map((number) => scale.ticks(number)).find((ticks) => ticks.length <= most);
  return found || thinned(scale.ticks(1), most);
}

// At most this many of a list, evenly.
function thinned(list, most) {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, n) => list[Math.floor((n * list.length) / most)]);
}

// A text that fits into so many letters.
const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
