// The matrix: any axes as rows, columns and pages, a value chosen for each of the others.

const SIZE = { least: 48, most: 800, step: 8 }; // long side of a cell's picture in pixels
const MATRIX_PIECE = 250; // cells that are made at a time, so that a large matrix does not stop the page

const matrix = {
  scroller: document.getElementById('matrix-scroller'),
  hint: document.getElementById('matrix-hint'),
  rows: [],
  cols: [],
  places: new Map(), // "row,column" => cell
  spot: new Map(), // cell => [row, column]
  body: null,
  filled: 0, // rows that are made
  near: 0, // columns that are made at once
  full: false, // whether cells show the pictures themselves
  wanted: 0, // size that a wheel asked for, which turns by less than a step
  drawn: '', // what is shown, to see whether it has changed
  picked: null, // (cell) => what happens when one is chosen to be compared with
};

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
  const fixed = free().map((axis) => [axis.name, chosenPlace(axis)]);
  const rows = new Map();
  const cols = new Map();
  const found = [];
  for (let cell = 0; cell < count; cell += 1) {
    if (fixed.some(([name, place]) => at[name][cell] !== place)) continue;
    if ([...state.rows, ...state.cols].some((name) => isHidden(name, at[name][cell]))) continue;
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
    ? el('img', { src: thumbLink(source.thumb), alt: '', loading: 'lazy' })
    : null;
  return el('div', { class: 'head' }, picture,
    el('small', {}, ...breakable(labelText(name))), el('span', {}, ...breakable(axis.shown[position])));
}

// A cell wider than its thumbnail shows the picture itself, if that has more to show.
const showsFull = (cell) => state.size > run.thumb && Math.max(...shapeOf(cell)) > run.thumb;
const cellPicture = (cell) => (showsFull(cell) ? viewPath(cell) : thumbPath(cell));

function cellContent(cell) {
  if (cell === undefined) return el('div', { class: 'hole none', title: 'not in the grid' });
  const [width, height] = shapeOf(cell);
  const thumb = thumbPath(cell);
  const inside = thumb
    ? el('img', { src: cellPicture(cell), alt: '', loading: 'lazy', decoding: 'async', class: 'frame' })
    : el('div', { class: 'frame hole' }, ...placeholder(cell));
  const flawed = thumb && run.cells.status[cell] !== 'ok' ? el('em', {}, run.cells.status[cell]) : null;
  const measured = state.metric ? `, ${labelText(state.metric)} ${numberText(run.metrics[state.metric][cell])}` : '';
  const rank = rankOf(cell);
  const longest = Math.max(width, height);
  return el('button', {
    type: 'button', class: selection.has(cell) ? 'cell' : 'cell dim', 'data-cell': cell, tabindex: '-1',
    'aria-label': `${cellName(cell)}${measured}${rank ? `, ${rank}` : ''}`,
    style: { '--wide': width / longest, '--tall': height / longest },
  }, inside, flawed, rankMark(cell), numberOf(cell));
}

function renderMatrix() {
  renderControls();
  const drawn = JSON.stringify([...SIDES.map((side) => state[side]), state.fixed, state.hidden, state.metric, state.scale]);
  if (drawn === matrix.drawn) {
    zoomMatrix(state.size);
    markCells();
  } else {
    drawMatrix();
  }
  matrix.drawn = drawn;
}

// The table alone, which follows the sliders; the focus stays in its place, though another cell is there.
function drawMatrix() {
  matrix.drawn = '';
  saveState();
  const held = matrix.scroller.contains(document.activeElement) && document.activeElement.dataset.cell;
  const spot = held ? matrix.spot.get(Number(held)) : null;
  const { scrollTop, scrollLeft } = matrix.scroller;
  arrangeMatrix();
  measureOverlay([...matrix.spot.keys()]);
  if (!matrix.places.size) {
    matrix.scroller.replaceChildren(el('p', { class: 'empty' }, 'No cell of this run belongs on this page.'));
    matrix.body = null;
    return;
  }
  matrix.outer = new Set(state.cols.length > 1 ? groupsOf(matrix.cols, 0).slice(1).map(([start]) => start) : []);
  matrix.starts = state.rows.map((_, level) => new Map(groupsOf(matrix.rows, level)));
  const head = state.cols.map((name, level) => el('tr', {},
    level === 0 && state.rows.length
      ? el('td', { class: 'corner', colspan: state.rows.length, rowspan: state.cols.length })
      : null,
    groupsOf(matrix.cols, level).map(([start, stop]) => el('th', {
      scope: stop - start > 1 ? 'colgroup' : 'col',
      colspan: stop - start,
      class: matrix.outer.has(start) ? 'apart' : null,
    }, headContent(name, matrix.cols[start][level])))));
  nearing.disconnect();
  matrix.body = el('tbody', {});
  matrix.filled = 0;
  matrix.near = Math.ceil((2 * matrix.scroller.clientWidth) / state.size);
  matrix.scroller.classList.toggle('measured', Boolean(state.metric));
  matrix.scroller.replaceChildren(el('table', { class: 'matrix' },
    el('caption', {}, 'Pictures by ', [...state.rows, ...state.cols].map(labelText).join(', ')),
    el('thead', {}, head), matrix.body));
  matrix.scroller.style.setProperty('--cell', `${state.size}px`);
  matrix.full = state.size > run.thumb;
  fillRows(piece());
  const first = matrix.scroller.querySelector('.cell');
  if (first) first.tabIndex = 0;
  sizeMatrix();
  while (matrix.filled < matrix.rows.length && matrix.scroller.scrollHeight < scrollTop + matrix.scroller.clientHeight) fillRows(piece());
  Object.assign(matrix.scroller, { scrollTop, scrollLeft });
  if (spot) focusCell(matrix.places.get(spot.join()) ?? (first && Number(first.dataset.cell)));
  requestAnimationFrame(fillScreen);
}

const piece = () => matrix.filled + Math.max(1, Math.floor(MATRIX_PIECE / matrix.cols.length));

// Make rows up to this one.
function fillRows(stop) {
  const last = Math.min(stop, matrix.rows.length);
  const made = [];
  for (let row = matrix.filled; row < last; row += 1) made.push(rowContent(row));
  matrix.body.append(...made);
  matrix.filled = Math.max(matrix.filled, last);
  markCells(made);
}

function rowContent(row) {
  const key = matrix.rows[row];
  return el('tr', { class: row > 0 && state.rows.length > 1 && matrix.starts[0].has(row) ? 'apart' : null },
    state.rows.map((name, level) => (matrix.starts[level].has(row)
      ? el('th', {
        scope: 'row', 'data-level': level, rowspan: matrix.starts[level].get(row) - row,
        style: { left: `var(--left-${level})` },
      }, headContent(name, key[level]))
      : null)),
    matrix.cols.map((_, col) => placeContent(row, col)));
}

// What stands far to the right is made when it comes near.
const nearing = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) fillPlace(entry.target);
}, { root: matrix.scroller, rootMargin: '200px 600px' });

function placeContent(row, col) {
  const spot = `${row},${col}`;
  const far = col >= matrix.near;
  const place = el('td', { class: matrix.outer.has(col) ? 'apart' : null, 'data-spot': far ? spot : null },
    far ? el('div', { class: 'later' }) : cellContent(matrix.places.get(spot)));
  if (far) nearing.observe(place);
  return place;
}

function fillPlace(place) {
  nearing.unobserve(place);
  place.replaceChildren(cellContent(matrix.places.get(place.dataset.spot)));
  delete place.dataset.spot;
  markCells([place]);
}

// As many rows as the screen shows and one more screen, a piece for each frame; the rest as it is scrolled.
function fillScreen() {
  const { scrollTop, clientHeight, scrollHeight } = matrix.scroller;
  if (!matrix.body || !clientHeight || matrix.filled >= matrix.rows.length) return;
  if (scrollTop + 2 * clientHeight < scrollHeight) return;
  fillRows(piece());
  requestAnimationFrame(fillScreen);
}

// Cells that are not selected step back; the one to compare with has a mark.
function markCells(within = [matrix.scroller]) {
  const active = selection.active();
  for (const part of within) {
    for (const button of part.querySelectorAll('.cell')) {
      const cell = Number(button.dataset.cell);
      button.classList.toggle('dim', active && !selection.has(cell));
      button.classList.toggle('pinned', cell === compare.pinned);
    }
  }
}

function zoomMatrix(size) {
  state.size = Math.min(SIZE.most, Math.max(SIZE.least, Math.round(size / SIZE.step) * SIZE.step));
  if (matrix.full !== state.size > run.thumb) {
    matrix.full = !matrix.full;
    for (const image of matrix.scroller.querySelectorAll('.cell img')) {
      image.src = cellPicture(Number(image.parentElement.dataset.cell));
    }
  }
  const range = sides.controls.querySelector('[data-key="size"]');
  range.value = state.size;
  matrix.scroller.style.setProperty('--cell', `${state.size}px`);
  sizeMatrix();
  saveState();
  requestAnimationFrame(fillScreen);
}

function sizeMatrix() {
  const table = matrix.scroller.querySelector('table');
  if (!table || !matrix.scroller.clientHeight) return;
  matrix.scroller.style.setProperty('--head', `${table.tHead.getBoundingClientRect().height}px`);
  let left = 0;
  state.rows.forEach((_, level) => {
    matrix.scroller.style.setProperty(`--left-${level}`, `${left}px`);
    const cell = table.querySelector(`tbody th[data-level="${level}"]`);
    left += cell ? cell.getBoundingClientRect().width : 0;
  });
  matrix.scroller.style.setProperty('--side', `${left}px`);
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

function focusCell(cell) {
  const spot = matrix.spot.get(cell);
  if (!spot) return;
  fillRows(spot[0] + 1);
  const place = matrix.body.querySelector(`[data-spot="${spot.join()}"]`);
  if (place) fillPlace(place);
  const old = matrix.scroller.querySelector('.cell[tabindex="0"]');
  const target = matrix.scroller.querySelector(`[data-cell="${cell}"]`);
  if (old) old.tabIndex = -1;
  target.tabIndex = 0;
  target.focus();
}

// Let the reader choose a cell, for example the one to compare with; Escape gives none.
function pickCell(then) {
  matrix.picked = then;
  matrix.hint.textContent = 'Choose the cell to compare with. Escape goes back without one.';
  matrix.hint.classList.add('asking');
}

function endPick(cell) {
  const then = matrix.picked;
  matrix.picked = null;
  matrix.hint.textContent = MATRIX_HINT;
  matrix.hint.classList.remove('asking');
  then(cell);
}

const MATRIX_HINT = 'Arrow keys walk along the axes, Page Up and Page Down turn the page, + and − change the size, '
  + 'P marks a cell to compare with, Enter opens it.';
matrix.hint.textContent = MATRIX_HINT;

matrix.scroller.addEventListener('click', (event) => {
  const button = event.target.closest('.cell');
  if (!button) return;
  const cell = Number(button.dataset.cell);
  if (matrix.picked) endPick(cell);
  else openCell(cell, walkMatrix);
});
document.getElementById('matrix').addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const menu = event.target.closest('.menu[open]');
  if (event.key === 'Escape' && menu) {
    menu.open = false;
    menu.querySelector('summary').focus();
  } else if (event.key === 'Escape' && matrix.picked) {
    event.preventDefault();
    endPick(null);
  } else if ((event.key === 'PageDown' || event.key === 'PageUp') && !event.target.closest('input, select')) {
    if (turnPage(event.key === 'PageDown' ? 1 : -1)) event.preventDefault();
  }
});
matrix.scroller.addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const button = event.target.closest('.cell');
  if ('+-='.includes(event.key)) {
    event.preventDefault();
    zoomMatrix(state.size * (event.key === '-' ? 1 / 1.25 : 1.25));
  } else if (button && event.key.toLowerCase() === 'p') {
    pinCell(Number(button.dataset.cell));
    markCells();
  } else if (button && moves[event.key]) {
    event.preventDefault();
    const next = walkMatrix(Number(button.dataset.cell), ...moves[event.key]);
    if (next !== undefined) focusCell(next);
  }
});
matrix.scroller.addEventListener('wheel', (event) => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  if (Math.abs(matrix.wanted - state.size) > SIZE.step) matrix.wanted = state.size;
  matrix.wanted *= 2 ** (-event.deltaY / 400);
  zoomMatrix(matrix.wanted);
}, { passive: false });
matrix.scroller.addEventListener('scroll', fillScreen, { passive: true });
window.addEventListener('resize', () => {
  sizeMatrix();
  fillScreen();
});

// The heads grow when their pictures come.
matrix.scroller.addEventListener('load', (event) => {
  if (event.target.closest('.head')) requestAnimationFrame(sizeMatrix);
}, { capture: true });
// A page that was moved away from the pictures has at most their thumbnails.
matrix.scroller.addEventListener('error', (event) => {
  const button = event.target.closest('.cell');
  const thumb = button && thumbPath(Number(button.dataset.cell));
  if (thumb && event.target.getAttribute('src') !== thumb) event.target.src = thumb;
}, { capture: true });
