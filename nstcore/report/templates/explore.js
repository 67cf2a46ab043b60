// The Explore view: one selection and one colour seen in four plots.

const numericAxis = axisColumns.find((column) => !column.ordinal && column.name !== 'seed');
const metricOr = (name) => (metricNamed(name) || !metricColumns.length ? name : metricColumns[0].name);

// What is shown, unless the address says otherwise.
const exploreDefaults = {
  x: metricOr('style_loss'),
  y: metricOr('content_loss'),
  hue: (numericAxis || axisColumns[0] || { name: 'status' }).name,
  loss: 'total_loss',
  effect: metricOr('style_loss'),
  lines: ['content_loss', 'style_loss', 'ssim'].filter(metricNamed).join(' '),
};

const explore = {
  place: document.getElementById('explore'),
  legend: el('div', { class: 'legends', 'aria-live': 'polite' }),
  selects: new Map(), // name in the state => its element
};

function panel(title, controls, ...content) {
  return el('section', { class: 'panel' },
    el('div', { class: 'panel-head' }, el('h3', {}, title), controls), content);
}

// A choice that the state keeps under a name.
function exploreSelect(label, name, options) {
  const box = el('select', { 'aria-label': label, on: { change: () => exploreChose(name, box.value) } },
    options.map((option) => el('option', { value: option, selected: option === state[name] }, labelText(option))));
  explore.selects.set(name, box);
  return el('label', {}, el('span', {}, label), box);
}

function exploreChose(name, value) {
  state[name] = value;
  // The front is one of the two metrics chosen.
  selection.members = null;
  selection.front &&= senseOf(state.x) !== 0 && senseOf(state.y) !== 0;
  renderChips();
  renderExplore();
  saveState();
}

function pointAt(cell) {
  if (scatter.cell === cell) return;
  scatter.cell = cell;
  markScatter();
  markParallel();
  markLosses();
}

function buildExplore() {
  const names = metricColumns.map(({ name }) => name);
  const controls = el('form', { class: 'controls', id: 'explore-controls', on: { submit: (event) => event.preventDefault() } },
    exploreSelect('Across', 'x', names), exploreSelect('Up', 'y', names), exploreSelect('Colour', 'hue', colourChoices()), explore.legend);
  explore.place.replaceChildren(controls, el('div', { class: 'panels' },
    buildScatter(), buildLosses(), buildParallel(), buildEffects()));
}

function renderExplore() {
  if (!metricColumns.length) {
    explore.place.replaceChildren(el('p', { class: 'empty' }, 'No cell of this run was measured yet.'));
    return;
  }
  if (!explore.selects.size) buildExplore();
  for (const [name, box] of explore.selects) box.value = state[name];
  explore.legend.replaceChildren(colouringBy(state.hue).legend());
  drawScatter();
  drawParallel();
  drawEffectsSoon();
  drawLosses();
}

function saveExplore(query) {
  for (const name of Object.keys(exploreDefaults)) if (state[name] !== exploreDefaults[name]) query.set(name, state[name]);
}

// Names that this run does not have leave the default.
function loadExplore(query) {
  const known = {
    x: metricNamed, y: metricNamed, effect: metricNamed,
    hue: (name) => colourChoices().includes(name),
    loss: (name) => CURVES.includes(name),
    lines: (names) => names.split(' ').every((name) => name === '' || metricNamed(name)),
  };
  for (const [name, isKnown] of Object.entries(known)) {
    if (query.has(name) && isKnown(query.get(name))) state[name] = query.get(name);
  }
}

function renderExploreAnew() {
  if (state.view === 'explore') renderExplore();
}

window.addEventListener('resize', renderExploreAnew);
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', renderExploreAnew);
new MutationObserver(renderExploreAnew).observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
