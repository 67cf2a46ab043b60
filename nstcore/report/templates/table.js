// The table of metrics: sorted by any column, filtered by words, filled as it is scrolled.

const table = {
  scroller: document.getElementById('table-scroller'),
  order: [],
  filled: 0,
  body: null,
};

const TABLE_PIECE = 40; // rows; what is added while it is scrolled must not hold up a frame

const tableColumns = [
  ...axes.map((axis) => ({
    name: axis.name,
    long: axis.shown.some((value) => value.length > 24),
    rank: (cell) => at[axis.name][cell],
    text: (cell) => axis.shown[at[axis.name][cell]],
  })),
  { name: 'status', rank: (cell) => run.cells.status[cell], text: (cell) => run.cells.status[cell] },
  ...Object.keys(run.metrics).map((name) => ({
    name,
    number: true,
    rank: (cell) => run.metrics[name][cell],
    text: (cell) => numberText(run.metrics[name][cell]),
  })),
];

function renderTable() {
  const column = tableColumns.find((entry) => entry.name === state.sort) || null;
  table.order = selection.cells();
  if (column) {
    const sign = state.descending ? -1 : 1;
    table.order.sort((one, other) => {
      const [a, b] = [column.rank(one), column.rank(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      return a === b ? one - other : (a < b ? -sign : sign);
    });
  }
  const heads = tableColumns.map((entry) => {
    const sorted = entry.name === state.sort;
    return el('th', {
      scope: 'col',
      class: entry.number ? 'numeric' : null,
      'aria-sort': sorted ? (state.descending ? 'descending' : 'ascending') : 'none',
    }, el('button', { type: 'button', on: { click: () => sortTable(entry.name) } }, labelText(entry.name)));
  });
  table.body = el('tbody', {});
  table.filled = 0;
  table.scroller.replaceChildren(el('table', { class: 'metrics' },
    el('caption', {}, `${table.order.length} of ${count} cells`),
    el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'picture'), heads)),
    table.body));
  fillTable();
  saveState();
}

function sortTable(name) {
  state.descending = state.sort === name ? !state.descending : false;
  state.sort = name;
  renderTable();
  const sorted = table.scroller.querySelector('[aria-sort="ascending"] button, [aria-sort="descending"] button');
  if (sorted) sorted.focus();
}

function fillTable() {
  const piece = table.order.slice(table.filled, table.filled + TABLE_PIECE);
  table.filled += piece.length;
  table.body.append(...piece.map((cell) => {
    const thumb = thumbPath(cell);
    return el('tr', { class: run.cells.status[cell] === 'ok' ? null : 'flawed' },
      el('td', {}, el('button', { type: 'button', class: 'mini', 'data-cell': cell, 'aria-label': cellName(cell) },
        thumb ? el('img', { src: thumb, alt: '', loading: 'lazy' }) : run.cells.status[cell])),
      tableColumns.map((column) => el('td', { class: column.number ? 'numeric' : column.long ? 'long' : null },
        ...(column.number ? [column.text(cell)] : breakable(column.text(cell))))));
  }));
}

function walkTable(cell, across, down) {
  return table.order[table.order.indexOf(cell) + across + down];
}

table.scroller.addEventListener('click', (event) => {
  const button = event.target.closest('.mini');
  if (button) openCell(Number(button.dataset.cell), walkTable);
});
table.scroller.addEventListener('scroll', () => {
  const { scrollTop, clientHeight, scrollHeight } = table.scroller;
  if (table.filled < table.order.length && scrollTop + 2 * clientHeight > scrollHeight) fillTable();
}, { passive: true });
