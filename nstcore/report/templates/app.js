// The page as a whole: its views, its state in the address, its colours.

const VIEWS = ['matrix', 'table', 'failures', 'about'];

const known = (names) => names.filter((name, n) => axisOf.has(name) && names.indexOf(name) === n);

const state = {
  view: 'matrix',
  rows: known(run.layout.rows),
  cols: known(run.layout.cols),
  fixed: {},
  size: window.innerWidth < 700 ? 112 : 176,
  metric: '',
  sort: '',
  descending: false,
  filter: '',
  cell: null,
};
if (!state.rows.length && !state.cols.length) [state.rows, state.cols] = [['content'], ['style']];

// The address says what is shown, so that a link or a reload opens the same view.
function saveState() {
  const query = new URLSearchParams();
  query.set('view', state.view);
  query.set('rows', state.rows.join(' '));
  query.set('cols', state.cols.join(' '));
  for (const axis of varying) {
    if (state.fixed[axis.name]) query.set(`at.${axis.name}`, axis.values[state.fixed[axis.name]]);
  }
  for (const name of ['metric', 'sort', 'filter']) if (state[name]) query.set(name, state[name]);
  if (state.descending) query.set('descending', '1');
  if (state.cell !== null) query.set('cell', run.cells.key[state.cell].slice(0, 16));
  try {
    window.history.replaceState(null, '', `#${query}`);
  } catch {
    // Some browsers forbid this for files: the view then is not kept.
  }
}

const initial = structuredClone(state);

function loadState() {
  Object.assign(state, structuredClone(initial));
  const query = new URLSearchParams(window.location.hash.slice(1));
  if (VIEWS.includes(query.get('view'))) state.view = query.get('view');
  for (const side of ['rows', 'cols']) {
    if (query.has(side)) state[side] = known(query.get(side).split(' '));
  }
  state.cols = state.cols.filter((name) => !state.rows.includes(name));
  for (const axis of varying) {
    const place = axis.values.indexOf(query.get(`at.${axis.name}`));
    if (place > 0) state.fixed[axis.name] = place;
  }
  if (run.metrics[query.get('metric')]) state.metric = query.get('metric');
  state.sort = query.get('sort') || '';
  state.filter = query.get('filter') || '';
  state.descending = query.get('descending') === '1';
  const key = query.get('cell');
  const cell = key ? run.cells.key.findIndex((entry) => entry.startsWith(key)) : -1;
  state.cell = cell < 0 ? null : cell;
}

const flawed = Array.from({ length: count }, (_, cell) => cell).filter((cell) => run.cells.status[cell] !== 'ok');

function renderFailures() {
  const place = document.getElementById('failures');
  if (!flawed.length) {
    place.replaceChildren(el('p', { class: 'empty' }, 'Every cell of this run is finished.'));
    return;
  }
  place.replaceChildren(el('ul', { class: 'failures' }, flawed.map((cell) => el('li', {},
    el('button', { type: 'button', on: { click: () => openCell(cell, walkFailures) } }, cellName(cell)),
    el('strong', {}, run.cells.status[cell]),
    el('p', {}, run.cells.reason[cell] || 'no reason is known')))));
}

const walkFailures = (cell, across, down) => flawed[flawed.indexOf(cell) + across + down];

function renderAbout() {
  const { facts, warnings } = run.about;
  document.getElementById('about').replaceChildren(
    ...warnings.map((line) => el('p', { class: 'note' }, line)),
    el('dl', { class: 'about' }, facts.map(([name, lines]) => el('div', {},
      el('dt', {}, name), lines.map((line) => el('dd', {}, ...breakable(line)))))),
    section('Settings of all cells', factList(Object.entries(run.settings.same))),
    section('Configuration', el('pre', { tabindex: 0 }, run.config || 'It was not kept.')),
  );
}

const RENDER = { matrix: renderMatrix, table: renderTable, failures: renderFailures, about: renderAbout };

function show(view) {
  state.view = view;
  for (const name of VIEWS) {
    const tab = document.getElementById(`tab-${name}`);
    const chosen = name === view;
    tab.setAttribute('aria-selected', String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(name).hidden = !chosen;
  }
  RENDER[view]();
  saveState();
}

const tabs = document.querySelector('.tabs');
tabs.addEventListener('click', (event) => {
  const tab = event.target.closest('[role="tab"]');
  if (tab) show(tab.getAttribute('aria-controls'));
});
tabs.addEventListener('keydown', (event) => {
  const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!turn) return;
  const next = VIEWS[(VIEWS.indexOf(state.view) + turn + VIEWS.length) % VIEWS.length];
  show(next);
  document.getElementById(`tab-${next}`).focus();
});

function summarize() {
  const parts = [`${count} ${count === 1 ? 'cell' : 'cells'}`];
  for (const axis of varying) {
    const plain = axis.pictures || axis.name === 'seed';
    parts.push(plain ? `${axis.values.length} ${axis.name}s` : `${axis.values.length} values of ${labelText(axis.name)}`);
  }
  if (flawed.length) parts.push(`${flawed.length} not finished`);
  document.getElementById('summary').textContent = `Run ${run.run} · ${parts.join(' · ')}`;
  const tab = document.getElementById('tab-failures');
  if (flawed.length) tab.append(el('b', {}, flawed.length));
}

summarize();
document.getElementById('setup').open = window.innerWidth >= 700;
loadState();
filterInput.value = state.filter;
const opened = state.cell;
show(state.view);
if (opened !== null) openCell(opened, state.view === 'table' ? walkTable : walkMatrix);
window.addEventListener('hashchange', () => {
  loadState();
  const cell = state.cell;
  if (detail.dialog.open) detail.dialog.close();
  show(state.view);
  if (cell !== null) openCell(cell, state.view === 'table' ? walkTable : walkMatrix);
});
document.documentElement.dataset.ready = 'true';
