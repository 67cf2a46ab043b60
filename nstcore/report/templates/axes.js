// Which axes are rows, columns and pages of the matrix, which values of the others are shown, and which are
// hidden.

const SIDES = ['rows', 'cols', 'pages'];
const MOST_BUTTONS = 12; // values of a page's axis; of more there is a list

const sides = {
  controls: document.getElementById('matrix-controls'),
  bar: document.getElementById('matrix-pages'),
  menus: new Set(), // axes whose list of values is open
};

const offered = axes.filter((axis) => axis.pictures || axis.values.length > 1);
const placed = (axis) => SIDES.some((side) => state[side].includes(axis.name));

// Axes of which one value is shown at a time.
const free = () => varying.filter((axis) => !state.rows.includes(axis.name) && !state.cols.includes(axis.name));

const isHidden = (name, place) => (state.hidden[name] || []).includes(place);
const shownPlaces = (axis) => axis.values.map((_, place) => place).filter((place) => !isHidden(axis.name, place));

// The value of a free axis that is shown: the one chosen, or the first that is not hidden.
function chosenPlace(axis) {
  const places = shownPlaces(axis);
  return places.includes(state.fixed[axis.name]) ? state.fixed[axis.name] : places[0];
}

function loadSides(query) {
  for (const side of SIDES) {
    if (query.has(side)) state[side] = known(query.get(side).split(' '));
  }
  state.cols = state.cols.filter((name) => !state.rows.includes(name));
  state.pages = state.pages.filter((name) => !state.rows.includes(name) && !state.cols.includes(name));
  for (const axis of varying) {
    const place = axis.values.indexOf(query.get(`at.${axis.name}`));
    if (place >= 0) state.fixed[axis.name] = place;
    const hidden = query.getAll(`hide.${axis.name}`)
      .map((value) => axis.values.indexOf(value))
      .filter((found) => found >= 0);
    if (hidden.length && hidden.length < axis.values.length) state.hidden[axis.name] = hidden;
  }
  if (run.metrics[query.get('metric')]) state.metric = query.get('metric');
  if (query.get('scale') === 'run') state.scale = 'run';
  const size = Number(query.get('size'));
  if (size) state.size = Math.min(SIZE.most, Math.max(SIZE.least, size));
}

function saveSides(query) {
  for (const side of SIDES) query.set(side, state[side].join(' '));
  for (const axis of varying) {
    const place = state.fixed[axis.name];
    if (place !== undefined) query.set(`at.${axis.name}`, axis.values[place]);
    for (const hidden of state.hidden[axis.name] || []) query.append(`hide.${axis.name}`, axis.values[hidden]);
  }
  if (state.metric) query.set('metric', state.metric);
  if (state.scale !== initial.scale) query.set('scale', state.scale);
  if (state.size !== initial.size) query.set('size', state.size);
}

// A choice that keeps the focus when the controls are drawn anew.
const keyedSelect = (label, key, options, chosen, change, name = null) =>
  select(label, options, chosen, change, { 'data-key': key, 'aria-label': name });

// One choice for each axis on this side, and one more to add another.
function sideControls(label, side) {
  const names = state[side];
  const rest = offered.filter((axis) => !names.includes(axis.name));
  const slots = rest.length ? [...names, ''] : names;
  return slots.map((name, place) => {
    const options = offered
      .filter((axis) => axis.name === name || !names.includes(axis.name))
      .map((axis) => [axis.name, labelText(axis.name)]);
    return keyedSelect(place === 0 ? label : '+', `${side}.${place}`, [['', '–'], ...options], name, (value) => {
      const chosen = [...names];
      chosen.splice(place, 1, ...(value ? [value] : []));
      for (const other of SIDES) {
        // The axis comes from another side: what stood here goes there.
        if (other !== side) state[other] = state[other].flatMap((axis) => (axis === value ? (name ? [name] : []) : [axis]));
      }
      state[side] = chosen;
      renderMatrix();
    });
  });
}

// A list of an axis' values, each of which may be hidden.
function valueMenu(axis) {
  const places = shownPlaces(axis);
  const all = axis.values.length;
  const hide = (place, hidden) => {
    const others = (state.hidden[axis.name] || []).filter((entry) => entry !== place);
    state.hidden[axis.name] = hidden ? [...others, place] : others;
    renderMatrix();
  };
  const boxes = axis.shown.map((text, place) => {
    const checked = places.includes(place);
    const box = el('input', {
      type: 'checkbox', 'data-key': `value.${axis.name}.${place}`, checked, disabled: checked && places.length === 1,
      on: { change: () => hide(place, !box.checked) },
    });
    return el('label', {}, box, el('span', {}, ...breakable(text)));
  });
  return el('details', {
    class: 'menu', open: sides.menus.has(axis.name),
    on: { toggle: (event) => sides.menus[event.target.open ? 'add' : 'delete'](axis.name) },
  },
  el('summary', { 'data-key': `menu.${axis.name}` }, `${labelText(axis.name)} `,
    el('small', {}, places.length < all ? `${places.length} of ${all}` : all)),
  el('div', { class: 'values' }, boxes));
}

function showAll() {
  state.hidden = {};
  renderMatrix();
}

// What is made anew keeps the focus, by the keys of its controls.
function renderControls() {
  const focused = document.activeElement && document.activeElement.dataset.key;
  const hiding = varying.some((axis) => (state.hidden[axis.name] || []).length);
  const metrics = [['', '–'], ...Object.keys(run.metrics).map((name) => [name, labelText(name)])];
  const size = el('input', {
    type: 'range', 'data-key': 'size', min: SIZE.least, max: SIZE.most, step: SIZE.step, value: state.size,
    on: { input: () => zoomMatrix(Number(size.value)) },
  });
  sides.controls.replaceChildren(
    el('fieldset', {}, el('legend', {}, 'Layout'),
      sideControls('Rows', 'rows'), sideControls('Columns', 'cols'), sideControls('Pages', 'pages')),
    varying.length ? el('fieldset', { class: 'menus' }, el('legend', {}, 'Values'), el('span', {}, 'Values'),
      varying.map(valueMenu),
      hiding ? el('button', { type: 'button', class: 'plain', 'data-key': 'show-all', on: { click: showAll } }, 'Show all') : null) : '',
    el('fieldset', {}, el('legend', {}, 'Cells'),
      keyedSelect('Metric', 'metric', metrics, state.metric, (value) => { state.metric = value; renderMatrix(); }),
      state.metric ? keyedSelect('Scale', 'scale', [['page', 'cells shown'], ['run', 'whole run']], state.scale, (value) => {
        state.scale = value;
        renderMatrix();
      }) : null,
      el('label', {}, el('span', {}, 'Size'), size)),
  );
  renderPages();
  const again = focused && document.querySelector(`#matrix [data-key="${CSS.escape(focused)}"]`);
  if (again) again.focus();
}

// What a value of an axis looks like: its name, and its picture where it has one.
function valueLabel(axis, place) {
  const source = axis.pictures ? sourceOf(axis.name, axis.values[place]) : null;
  return [
    source && source.thumb ? el('img', { src: thumbLink(source.thumb), alt: '', loading: 'lazy' }) : null,
    el('span', {}, ...breakable(axis.shown[place])),
  ];
}

function renderPages() {
  const groups = [
    ...state.pages.map((name) => axisOf.get(name)).filter((axis) => axis.values.length > 1).map(pageTurner),
    ...varying.filter((axis) => !placed(axis)).map((axis) => (shownPlaces(axis).length > 2 ? slider(axis) : pageTurner(axis))),
  ];
  sides.bar.hidden = !groups.length;
  sides.bar.replaceChildren(...groups);
}

// An axis' values as a row of buttons, or a list of them where they are many, between two that turn the page.
function pageTurner(axis) {
  const places = shownPlaces(axis);
  const chosen = chosenPlace(axis);
  const turn = (place) => {
    state.fixed[axis.name] = place;
    renderMatrix();
  };
  const step = (by, text, label) => {
    const place = places[places.indexOf(chosen) + by];
    return el('button', {
      type: 'button', class: 'step', 'data-key': `turn.${axis.name}.${by}`, disabled: place === undefined, 'aria-label': `${label} ${axis.name}`,
      on: { click: () => turn(place) },
    }, text);
  };
  const choices = places.length <= MOST_BUTTONS
    ? places.map((place) => el('button', {
      type: 'button', class: 'value', 'data-key': `page.${axis.name}.${place}`, 'aria-pressed': String(place === chosen),
      on: { click: () => turn(place) },
    }, valueLabel(axis, place)))
    : keyedSelect('', `page.${axis.name}`, places.map((place) => [place, axis.shown[place]]), chosen, (value) => turn(Number(value)), labelText(axis.name));
  return el('div', { class: 'turner', role: 'group', 'aria-label': labelText(axis.name) },
    el('span', { class: 'name' }, labelText(axis.name)), step(-1, '‹', 'Previous'), choices, step(1, '›', 'Next'));
}

// While it is dragged only the matrix is drawn anew, not the slider.
function slider(axis) {
  const places = shownPlaces(axis);
  const value = el('output', {});
  const input = el('input', {
    type: 'range', 'data-key': `slide.${axis.name}`, min: 0, max: places.length - 1, step: 1,
    value: places.indexOf(chosenPlace(axis)), 'aria-label': labelText(axis.name),
  });
  const tell = () => {
    const place = places[Number(input.value)];
    value.replaceChildren(...present(valueLabel(axis, place)));
    input.setAttribute('aria-valuetext', axis.shown[place]);
  };
  input.addEventListener('input', () => {
    state.fixed[axis.name] = places[Number(input.value)];
    tell();
    drawMatrix();
  });
  tell();
  return el('div', { class: 'turner slide' }, el('span', { class: 'name' }, labelText(axis.name)), input, value);
}

// Turn to the next page, the last of the pages' axes first; false where there is none.
function turnPage(by) {
  const turned = state.pages.map((name) => axisOf.get(name)).filter((axis) => axis.values.length > 1).reverse();
  const next = { ...state.fixed };
  for (const axis of turned) {
    const places = shownPlaces(axis);
    const place = places.indexOf(chosenPlace(axis)) + by;
    if (place >= 0 && place < places.length) {
      next[axis.name] = places[place];
      state.fixed = next;
      renderMatrix();
      return true;
    }
    next[axis.name] = places[by > 0 ? 0 : places.length - 1];
  }
  return false;
}

sides.controls.addEventListener('submit', (event) => event.preventDefault());
document.addEventListener('click', (event) => {
  for (const menu of sides.controls.querySelectorAll('.menu[open]')) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
