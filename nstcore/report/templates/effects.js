// What each axis does to a metric: mean and spread over all other axes, and over the seeds alone.

const EFFECT = { width: 300, height: 190, left: 46, right: 10, top: 10, bottom: 44 };
const LETTER = 6.5; // about the width of one, in pixels
const EFFECTS_WAIT_MS = 120;

const effects = { place: el('div', { class: 'effects' }), words: el('p', { class: 'caption' }), timer: 0 };

// Cells that differ in nothing but the seed have the same key.
const apartFromSeed = varying.filter((axis) => axis.name !== 'seed');
const seedGroups = everyCell.map((cell) => apartFromSeed.map((axis) => at[axis.name][cell]).join());

// The mean standard deviation among cells that differ in nothing but the seed; undefined without such.
function seedSpread(cells, numbers) {
  if (!axisOf.has('seed') || axisOf.get('seed').values.length < 2) return undefined;
  const groups = d3.group(cells, (cell) => seedGroups[cell]);
  return d3.mean([...groups.values()], (group) => d3.deviation(group, (cell) => numbers[cell]));
}

// The share of the variance that lies between the groups and not within them (eta squared).
function varianceBetween(groups, numbers) {
  const all = groups.flat();
  const mean = d3.mean(all, (cell) => numbers[cell]);
  const total = d3.sum(all, (cell) => (numbers[cell] - mean) ** 2);
  const between = d3.sum(groups, (group) => group.length * (d3.mean(group, (cell) => numbers[cell]) - mean) ** 2);
  return total > 0 ? between / total : 0;
}

// One axis' effect: its share of the variance and a summary of each of its values.
function effectOf(column, cells, numbers) {
  const groups = d3.sort(d3.group(cells, (cell) => column.at[cell]), ([value]) => value);
  const summaries = groups.map(([value, group]) => {
    const sorted = Float64Array.from(group, (cell) => numbers[cell]).sort();
    return {
      value,
      count: group.length,
      mean: d3.mean(sorted),
      least: sorted[0],
      greatest: sorted.at(-1),
      lower: d3.quantileSorted(sorted, 0.25),
      upper: d3.quantileSorted(sorted, 0.75),
      seeds: column.name === 'seed' ? undefined : seedSpread(group, numbers),
    };
  });
  return { column, share: varianceBetween(groups.map(([, group]) => group), numbers), summaries };
}

const percent = (share) => (share > 0 && share < 0.01 ? 'under 1 %' : `${Math.round(100 * share)} %`);

function summaryText(column, summary) {
  const { value, mean, lower, upper, least, greatest, seeds } = summary;
  return [
    `${labelText(column.name)} ${column.text(value)}: mean ${numberText(mean)}`,
    `half of the cells ${numberText(lower)} to ${numberText(upper)}`,
    `all ${numberText(least)} to ${numberText(greatest)}`,
    ...(seeds === undefined ? [] : [`seeds alone ±${numberText(seeds)}`]),
    `${summary.count} ${summary.count === 1 ? 'cell' : 'cells'}`,
  ].join(', ');
}

function effectPicture({ column, summaries }, metric) {
  const { width, height, left, right, top, bottom } = EFFECT;
  const x = scaleOf(column, left, width - right);
  const y = scaleOf(metric, height - bottom, top);
  const across = (number, from, to, name) => svg('line', { class: name, x1: from, x2: to, y1: y(number), y2: y(number) });
  const upright = (x0, from, to, name) => svg('line', { class: name, x1: x0, x2: x0, y1: y(from), y2: y(to) });
  return svg('svg', {
    viewBox: `0 0 ${width} ${height}`, class: 'effect', role: 'img',
    'aria-label': summaries.map((summary) => `${column.text(summary.value)}: ${numberText(summary.mean)}`).join('; '),
  },
  ticksOf(metric, y, 34).flatMap((tick) => [across(tick, left, width - right, 'grid'), tickText(left - 6, y(tick) + 4, 'end', numberText(tick))]),
  effectLabels(column, x),
  column.ordinal ? null : svg('path', { class: 'means', d: `M${summaries.map(({ value, mean }) => `${x(value)},${y(mean)}`).join('L')}` }),
  summaries.map((summary) => svg('g', {},
    svg('title', {}, summaryText(column, summary)),
    upright(x(summary.value), summary.least, summary.greatest, 'whisker'),
    upright(x(summary.value), summary.lower, summary.upper, 'half'),
    summary.seeds === undefined ? null
      : seedBracket(x(summary.value) + 7, y, summary, metric),
    svg('circle', { class: 'mean', cx: x(summary.value), cy: y(summary.mean), r: 3.5 }))));
}

// The values below the plot, slanted where they would run into each other.
function effectLabels(column, x) {
  const { width, height, left, right, bottom } = EFFECT;
  const room = column.ordinal ? (width - left - right) / column.values.length : 28;
  const longest = d3.max(column.values, (value) => column.text(value).length);
  if (longest * LETTER <= room) {
    return ticksOf(column, x, room - 1).map((tick) => tickText(x(tick), height - bottom + 18, 'middle', column.text(tick)));
  }
  return ticksOf(column, x, 14).map((tick) => svg('text', {
    class: 'tick', transform: `translate(${x(tick) + 4} ${height - bottom + 14}) rotate(-35)`, 'text-anchor': 'end',
  }, shortened(column.text(tick), 9)));
}

function seedBracket(x, y, { mean, seeds }, metric) {
  // Below zero there is no logarithm: the bracket ends with the plot.
  const [from, to] = [Math.max(mean - seeds, metric.log ? y.domain()[0] : -Infinity), mean + seeds];
  return svg('path', { class: 'seeds', d: `M${x - 2},${y(from)}h4M${x},${y(from)}V${y(to)}M${x - 2},${y(to)}h4` });
}

// After the points and lines, not before each of their movements.
function drawEffectsSoon() {
  clearTimeout(effects.timer);
  effects.timer = setTimeout(drawEffects, EFFECTS_WAIT_MS);
}

function drawEffects() {
  const whole = columnOf.get(state.effect);
  const cells = selection.cells().filter((cell) => !Number.isNaN(whole.at[cell]));
  if (!cells.length) {
    effects.words.textContent = 'No selected cell has this metric.';
    effects.place.replaceChildren();
    return;
  }
  const [low, high] = d3.extent(cells, (cell) => whole.at[cell]);
  const metric = { ...whole, domain: [low, high], log: low > 0 && high / low >= LOG_FACTOR };
  const label = labelText(state.effect);
  const found = axisColumns.map((column) => effectOf(column, cells, whole.at)).filter(({ summaries }) => summaries.length > 1);
  found.sort((one, other) => other.share - one.share);
  const seeds = seedSpread(cells, whole.at);
  effects.words.textContent = [
    `For each value of an axis ${label} over all other axes: its mean (dot), the middle half of the cells (thick), all of them (thin).`,
    seeds === undefined ? '' : `Seeds alone, all else equal, spread it by ±${numberText(seeds)} on average (bracket).`,
    'The percentage is the share of its variance that lies between the values of the axis (η²).',
  ].filter(Boolean).join(' ');
  effects.place.replaceChildren(...found.map((effect) => el('figure', {},
    el('figcaption', {}, el('strong', {}, ...breakable(labelText(effect.column.name))),
      el('span', { title: `eta squared ${effect.share.toFixed(3)}` }, ` explains ${percent(effect.share)}`)),
    effectPicture(effect, metric))));
  if (!found.length) effects.place.replaceChildren(el('p', { class: 'empty' }, 'All selected cells are alike in every axis.'));
}

const buildEffects = () => panel('Effect of each axis', [exploreSelect('On', 'effect', metricColumns.map(({ name }) => name))], effects.words, effects.place);
