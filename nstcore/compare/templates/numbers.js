// What the comparison found, in numbers: limits, what was changed, and how far each metric moved.

const all = JSON.parse(document.getElementById('data').textContent);
const { runs, compared, words } = all;
labels = all.labels;

function percentText(value) {
  if (value === null || value === undefined) return '–';
  if (value === 0) return '0 %';
  const percent = 100 * value;
  const size = Math.abs(percent);
  const digits = size >= 1000 ? percent.toPrecision(3) : percent.toFixed(1);
  return `${percent >= 0 ? '+' : '−'}${digits.replace('-', '')} %`;
}

const countText = (count, thing) => `${count} ${thing}${count === 1 ? '' : 's'}`;

function renderLimits() {
  const place = document.getElementById('limits');
  place.hidden = !all.limits.length;
  place.replaceChildren(...all.limits.map(({ line, bad }) => el('p', { class: bad ? 'note' : 'fine' }, line)));
}

// Median, middle half and interval of a metric's changes, drawn to one scale for a whole table.
const WIDE = 180;

function bar(change, scale) {
  const at = (value) => WIDE / 2 + (WIDE / 2 - 4) * Math.max(-1, Math.min(1, value / scale));
  const [low, high] = change.quartiles;
  const parts = [svg('line', { class: 'zero', x1: WIDE / 2, x2: WIDE / 2, y1: 0, y2: 16 })];
  if (low !== null && high !== null) {
    parts.push(svg('line', { class: 'half', x1: at(low), x2: at(high), y1: 8, y2: 8 }));
  }
  if (change.interval) {
    const [from, to] = change.interval.map(at);
    parts.push(svg('path', { class: 'interval', d: `M${from} 4V12M${from} 8H${to}M${to} 4V12` }));
  }
  if (change.median !== null) parts.push(svg('circle', { class: 'median', cx: at(change.median), cy: 8, r: 3.5 }));
  return svg('svg', { class: 'bar', viewBox: `0 0 ${WIDE} 16`, width: WIDE, height: 16, 'aria-hidden': 'true' }, parts);
}

// What is not finite stands as null: a change from zero is one, and larger than any other.
const largestText = (change) => (change.largest === null ? 'from zero' : percentText(change.largest));

function metricTable(one) {
  const entries = Object.entries(one.metrics).filter(([, change]) => change.n);
  if (!entries.length) return el('p', { class: 'empty' }, 'There is no metric that two cells have in common.');
  const ends = entries.flatMap(([, change]) => [...change.quartiles, ...(change.interval || []), change.median]);
  const sizes = ends.filter((value) => value !== null).map(Math.abs);
  const scale = Math.min(1, Math.max(0.01, ...sizes));
  const heads = ['metric', 'cells', 'median change', 'middle half', '95 % interval of the median', 'over', 'largest'];
  return el('div', { class: 'sideways', tabindex: 0, role: 'region', 'aria-label': `Changes of ${one.name}` },
    el('table', { class: 'metrics changes' },
      el('caption', {}, `How metrics of ${one.name} differ from ${runs[0].name}`),
      el('thead', {}, el('tr', {},
        heads.map((head, n) => el('th', { scope: 'col', class: n ? 'numeric' : null }, head)),
        el('th', { scope: 'col', class: 'drawn' }, `±${Math.round(100 * scale)} %`))),
      el('tbody', {}, entries.map(([name, change]) => {
        const fair = one.comparable.includes(name);
        const pair = (ends) => (ends ? ends.map(percentText).join(' … ') : '–');
        return el('tr', { class: fair ? null : 'flawed' },
          el('th', { scope: 'row' }, labelText(name), fair ? null : el('small', {}, ' not comparable')),
          [change.n, percentText(change.median), pair(change.quartiles), pair(change.interval),
            countText(change.interval_over.count, change.interval_over.what.slice(0, -1)),
          ].map((text) => el('td', { class: 'numeric' }, text)),
          el('td', { class: 'numeric', title: change.largest_cell }, largestText(change)),
          el('td', {}, bar(change, scale)));
      }))));
}

const changeList = (title, rows) => (rows.length
  ? el('div', {}, el('h3', {}, title), el('dl', { class: 'changed' }, rows.map(([name, before, after]) => el('div', {},
    el('dt', {}, ...breakable(name)),
    el('dd', {}, ...breakable(before), ' → ', ...breakable(after))))))
  : null);

function renderNumbers() {
  document.getElementById('numbers').replaceChildren(...compared.map((one, n) => {
    const { pairs, identical } = one.counts;
    return el('section', { 'aria-labelledby': `run-${n}` },
      el('h2', { id: `run-${n}` }, one.name, el('small', {}, ` against ${runs[0].name}`)),
      one.warnings.map((line) => el('p', { class: 'note' }, line)),
      el('p', {}, `${countText(pairs, 'pair')} of cells, ${identical} with identical pictures`,
        all.ignored.length ? `; cells may differ in ${all.ignored.join(', ')}` : '', '.'),
      changeList('Changed settings', one.changed),
      changeList('Made with', one.made),
      el('h3', {}, 'Metrics'),
      metricTable(one),
      one.lists.map(([title, cells]) => el('details', { class: 'cells-of' },
        el('summary', {}, `${countText(cells.length, 'cell')} ${title}`),
        el('ul', {}, cells.map((cell) => el('li', {}, ...breakable(cell)))))));
  }));
}

function summarize() {
  const parts = runs.map((run, n) => `${run.name}: ${countText(run.status.length, 'cell')}${n ? '' : ' (baseline)'}`);
  document.getElementById('summary').textContent = parts.join(' · ');
}
