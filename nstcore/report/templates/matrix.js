// The matrix: any axes as rows and columns, a value chosen for each of the others.

const matrix = {
  controls: document.getElementById('matrix-controls'),
  scroller: document.getElementById('matrix-scroller'),
  rows: [],
  cols: [],
  places: new Map(), // "row,column" => cell
  spot: new Map(), // cell => [row, column]
};

const offered = axes.filter((axis) => axis.pictures || axis.values.length > 1);
const free = () => varying.filter((axis) => !state.rows.includes(axis.name) && !state.cols.includes(axis.name));

function select(label, options, chosen, change) {
  const box = el('select', { on: { change: () => change(box.value) } },
    options.map(([value, text]) => el('option', { value, selected: String(value) === String(chosen) }, text)));
  return el('label', {}, el('span', {}, label), box);
}

// One choice for each axis on this side, and one more to add another.
function sideControls(label, side) {
  const names = state[side];
  const other = side === 'rows' ? 'cols' : 'rows';
  const rest = offered.filter((axis) => !names.includes(axis.name));
  const slots = rest.length ? [...names, ''] : names;
  return slots.map((name, place) => {
    const options = offered
      .filter((axis) => axis.name === name || !names.includes(axis.name))
      .map((axis) => [axis.name, labelText(axis.name)]);
    return select(place === 0 ? label : '+', [['', '–'], ...options], name, (value) => {
      const chosen = [...names];
      chosen.splice(place, 1, ...(value ? [value] : []));
      if (state[other].includes(value)) {
        // The axis comes from the other side: what stood here goes there.
        state[other] = state[other].flatMap((axis) => (axis === value ? (name ? [name] : []) : [axis]));
      }
      state[side] = chosen;
      renderMatrix();
    });
  });
}

function renderControls() {
  const choices = () => [...matrix.controls.querySelectorAll('select, input')];
  const focused = choices().indexOf(document.activeElement);
  const values = free().map((axis) => {
    const options = axis.shown.map((value, n) => [n, value]);
    return select(labelText(axis.name), options, state.fixed[axis.name] || 0, (value) => {
      state.fixed[axis.name] = Number(value);
      renderMatrix();
    });
  });
  const metrics = [['', '–'], ...Object.keys(run.metrics).map((name) => [name, labelText(name)])];
  const size = el('input', {
    type: 'range', min: 64, max: 400, step: 8, value: state.size,
    on: { input: () => { state.size = Number(size.value); sizeMatrix(); saveState(); } },
  });
  matrix.controls.replaceChildren(
    el('fieldset', {}, el('legend', {}, 'Layout'), sideControls('Rows', 'rows'), sideControls('Columns', 'cols')),
    values.length ? el('fieldset', {}, el('legend', {}, 'Page'), values) : '',
    el('fieldset', {}, el('legend', {}, 'Cells'),
      select('Metric', metrics, state.metric, (value) => { state.metric = value; renderMatrix(); }),
      el('label', {}, el('span', {}, 'Size'), size)),
  );
  if (focused >= 0) (choices()[focused] || choices()[0]).focus();
}

function sizeMatrix() {
  matrix.scroller.style.setProperty('--cell', `${state.size}px`);
  const table = matrix.scroller.querySelector('table');
  if (!table) return;
  const head = table.tHead.getBoundingClientRect().height;
  matrix.scroller.style.setProperty('--head', `${head}px`);
  let left = 0;
  state.rows.forEach((_, level) => {
    matrix.scroller.style.setProperty(`--left-${level}`, `${left}px`);
    const cell = table.querySelector(`tbody th[data-level="${level}"]`);
    left += cell ? cell.getBoundingClientRect().width : 0;
  });
  matrix.scroller.style.setProperty('--side', `${left}px`);
}

// Runs of keys that agree up to and including this level.
function groupsOf(keys, level) {
  const runs = [];
  keys.forEach((key, n) => {
    const last = runs.at(-1);
    const same = last && key.slice(0, level + 1).every((v, k) => v === keys[last[0]][k]);
    if (same) last[1] = n + 1;
    else runs.push([n, n + 1]);
  });
  return runs;
}

function arrangeMatrix() {
  const others = free();
  const rows = new Map();
  const cols = new Map();
  const found = [];
  for (let cell = 0; cell < count; cell += 1) {
    if (others.some((axis) => at[axis.name][cell] !== (state.fixed[axis.name] || 0))) continue;
    const row = state.rows.map((name) => at[name][cell]);
    const col = state.cols.map((name) => at[name][cell]);
    rows.set(row.join(), row);
    cols.set(col.join(), col);
    found.push([cell, row.join(), col.join()]);
  }
  const order = (one, other) => {
    const n = one.findIndex((value, k) => value !== other[k]);
    return n < 0 ? 0 : one[n] - other[n];
  };
  matrix.rows = [...rows.values()].sort(order);
  matrix.cols = [...cols.values()].sort(order);
  const rowOf = new Map(matrix.rows.map((key, n) => [key.join(), n]));
  const colOf = new Map(matrix.cols.map((key, n) => [key.join(), n]));
  matrix.places = new Map();
  matrix.spot = new Map();
  for (const [cell, row, col] of found) {
    const spot = [rowOf.get(row), colOf.get(col)];
    matrix.places.set(spot.join(), cell);
    matrix.spot.set(cell, spot);
  }
}

function headContent(name, position) {
  const axis = axisOf.get(name);
  const value = axis.values[position];
  const source = axis.pictures ? sourceOf(name, value) : null;
  const picture = source && source.thumb
    ? el('img', { src: link(`thumbs/${source.thumb}`), alt: '', loading: 'lazy' })
    : null;
  return el('div', { class: 'head' }, picture,
    el('small', {}, ...breakable(name)), el('span', {}, ...breakable(axis.shown[position])));
}

function cellContent(cell) {
  if (cell === undefined) return el('div', { class: 'hole none', title: 'not in the grid' });
  const [width, height] = shapeOf(cell);
  const shape = { 'aspect-ratio': `${width} / ${height}` };
  const thumb = thumbPath(cell);
  const inside = thumb
    ? el('img', { src: thumb, alt: '', loading: 'lazy', decoding: 'async', class: width >= height ? 'wide' : 'tall', style: shape })
    : el('div', { class: `hole ${width >= height ? 'wide' : 'tall'}`, style: shape }, ...placeholder(cell));
  const flawed = thumb && run.cells.status[cell] !== 'ok' ? el('em', {}, run.cells.status[cell]) : null;
  const number = state.metric ? el('span', { class: 'number' }, numberText(run.metrics[state.metric][cell])) : null;
  return el('button', {
    type: 'button', class: selection.has(cell) ? 'cell' : 'cell dim', 'data-cell': cell, tabindex: '-1', 'aria-label': cellName(cell),
  }, inside, flawed, number);
}

function renderMatrix() {
  renderControls();
  saveState();
  arrangeMatrix();
  if (!matrix.places.size) {
    matrix.scroller.replaceChildren(el('p', { class: 'empty' }, 'No cell of this run belongs on this page.'));
    return;
  }
  const outer = new Set(state.cols.length > 1 ? groupsOf(matrix.cols, 0).slice(1).map(([start]) => start) : []);
  const head = state.cols.map((name, level) => el('tr', {},
    level === 0 && state.rows.length
      ? el('td', { class: 'corner', colspan: state.rows.length, rowspan: state.cols.length })
      : null,
    groupsOf(matrix.cols, level).map(([start, stop]) => el('th', {
      scope: stop - start > 1 ? 'colgroup' : 'col',
      colspan: stop - start,
      class: outer.has(start) ? 'apart' : null,
    }, headContent(name, matrix.cols[start][level])))));
  const starts = state.rows.map((_, level) => new Map(groupsOf(matrix.rows, level)));
  const body = matrix.rows.map((key, row) => el('tr', {
    class: row > 0 && state.rows.length > 1 && starts[0].has(row) ? 'apart' : null,
  },
  state.rows.map((name, level) => (starts[level].has(row)
    ? el('th', {
      scope: 'row', 'data-level': level, rowspan: starts[level].get(row) - row,
      style: { left: `var(--left-${level})` },
    }, headContent(name, key[level]))
    : null)),
  matrix.cols.map((_, col) => el('td', { class: outer.has(col) ? 'apart' : null },
    cellContent(matrix.places.get(`${row},${col}`))))));
  matrix.scroller.replaceChildren(el('table', { class: 'matrix' },
    el('caption', {}, 'Pictures by ', [...state.rows, ...state.cols].map(labelText).join(', ')),
    el('thead', {}, head), el('tbody', {}, body)));
  const first = matrix.scroller.querySelector('.cell');
  if (first) first.tabIndex = 0;
  sizeMatrix();
}

// The neighbour of a cell in the matrix; to the right of a row's end comes the next row.
function walkMatrix(cell, across, down) {
  let [row, col] = matrix.spot.get(cell) || [0, 0];
  for (let tries = 0; tries < matrix.rows.length * matrix.cols.length; tries += 1) {
    col += across;
    row += down;
    if (across && (col < 0 || col >= matrix.cols.length)) {
      row += Math.sign(across);
      col = across > 0 ? 0 : matrix.cols.length - 1;
    }
    if (row < 0 || row >= matrix.rows.length) return undefined;
    const next = matrix.places.get(`${row},${col}`);
    if (next !== undefined) return next;
  }
  return undefined;
}

matrix.controls.addEventListener('submit', (event) => event.preventDefault());
matrix.scroller.addEventListener('click', (event) => {
  const button = event.target.closest('.cell');
  if (button) openCell(Number(button.dataset.cell), walkMatrix);
});
matrix.scroller.addEventListener('keydown', (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const button = event.target.closest('.cell');
  if (!button || !moves[event.key]) return;
  event.preventDefault();
  const next = walkMatrix(Number(button.dataset.cell), ...moves[event.key]);
  const target = next !== undefined && matrix.scroller.querySelector(`[data-cell="${next}"]`);
  if (!target) return;
  button.tabIndex = -1;
  target.tabIndex = 0;
  target.focus();
});
window.addEventListener('resize', sizeMatrix);
matrix.scroller.addEventListener('load', () => requestAnimationFrame(sizeMatrix), { capture: true, once: true });
