// The address says what is shown, so that a link or a reload opens the same view.

function saveState() {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name !== 'size' && value !== null && value !== initial[name]) query.set(name, value);
  }
  try {
    window.history.replaceState(null, '', `#${query}`);
  } catch {
    // Some browsers forbid this for files: the view then is not kept.
  }
}

function loadState() {
  Object.assign(state, initial, { size: state.size });
  const query = new URLSearchParams(window.location.hash.slice(1));
  const whole = (name, end) => {
    const value = query.get(name);
    return value !== null && /^\d+$/.test(value) && Number(value) < end ? Number(value) : null;
  };
  state.left = whole('left', runs.length) ?? initial.left;
  state.right = whole('right', runs.length) ?? initial.right;
  state.cell = whole('cell', words.length);
  if (all.metrics.includes(query.get('metric'))) state.metric = query.get('metric');
  if (query.get('order') === 'grid') state.order = 'grid';
  if (query.get('look') === 'slider') state.look = 'slider';
  state.filter = query.get('filter') || '';
}

function renderAll() {
  const { cell } = state;
  if (detail.dialog.open) detail.dialog.close();
  renderControls();
  renderPairs();
  if (cell !== null) openPair(cell);
}

summarize();
renderLimits();
renderNumbers();
loadState();
renderAll();
window.addEventListener('hashchange', () => {
  loadState();
  renderAll();
});
document.documentElement.dataset.ready = 'true';
