// The page as a whole: its views, its state in the address, its colours.

const VIEWS = ['matrix', 'explore', 'table', 'failures', 'about'];

const known = (names) => names.filter((name, n) => axisOf.has(name) && names.indexOf(name) === n);

const state = {
  view: 'matrix',
  rows: known(run.layout.rows),
  cols: known(run.layout.cols),
  pages: known(run.layout.pages),
  fixed: {}, // axis => place of the value shown, of axes that are neither rows nor columns
  hidden: {}, // axis => places of values that are not shown
  size: window.innerWidth < 700 ? 112 : 176,
  metric: '',
  scale: 'page',
  sort: '',
  descending: false,
  cell: null,
  other: 'content', // what the open cell is compared with
  mode: 'picture', // and how
  ...exploreDefaults,
};
if (!state.rows.length && !state.cols.length) [state.rows, state.cols] = [['content'], ['style']];
state.pages = state.pages.filter((name) => ![...state.rows, ...state.cols].includes(name));

// The address says what is shown, so that a link or a reload opens the same view.
function saveState() {
  const query = new URLSearchParams();
  query.set('view', state.view);
  saveSides(query);
  if (state.sort) query.set('sort', state.sort);
  if (state.descending) query.set('descending', '1');
  saveExplore(query);
  saveSelection(query);
  if (state.cell !== null) {
    query.set('cell', keyOf(state.cell));
    if (state.mode !== initial.mode) query.set('mode', state.mode);
    if (state.other !== initial.other) query.set('with', state.other);
  }
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
  loadSides(query);
  state.sort = query.get('sort') || '';
  state.descending = query.get('descending') === '1';
  loadExplore(query);
  loadSelection(query);
  state.cell = cellOfKey(query.get('cell'));
  if (MODES.some(([mode]) => mode === query.get('mode'))) state.mode = query.get('mode');
  state.other = query.get('with') || initial.other;
}

const RENDER = {
  matrix: renderMatrix, explore: renderExplore, table: renderTable, failures: renderFailures, about: renderAbout,
};

// Where the arrow keys of an open cell lead.
const WALKS = { explore: walkScatter, table: walkTable, failures: walkFailures };

function show(view) {
  state.view = view;
  for (const name of VIEWS) {
    const tab = document.getElementById(`tab-${name}`);
    const chosen = name === view;
    tab.setAttribute('aria-selected', String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(name).hidden = !chosen;
  }
  showSelection();
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
const opened = state.cell;
show(state.view);
if (opened !== null) openCell(opened, WALKS[state.view] || walkMatrix);
window.addEventListener('hashchange', () => {
  loadState();
  const cell = state.cell;
  if (detail.dialog.open) detail.dialog.close();
  show(state.view);
  if (cell !== null) openCell(cell, WALKS[state.view] || walkMatrix);
});
if (run.live) startLive();
document.documentElement.dataset.ready = 'true';
