// Every cell of the baseline with its partners: side by side or under a slider, larger in a dialog.

const state = {
  left: 0,
  right: 1,
  metric: all.metrics.includes('style_loss') ? 'style_loss' : all.metrics[0] || '',
  order: 'change',
  look: 'side',
  size: window.innerWidth < 700 ? 148 : 220,
  filter: '',
  cell: null,
};
const initial = { ...state };

const PIECE = 48;
const view = {
  controls: document.getElementById('controls'),
  cells: document.getElementById('cells'),
  more: document.getElementById('more'),
  shown: document.getElementById('shown'),
  order: [],
  filled: 0,
};
const detail = {
  dialog: document.getElementById('detail'),
  stage: document.getElementById('detail-stage'),
  look: document.getElementById('detail-look'),
  facts: document.getElementById('detail-facts'),
  title: document.getElementById('detail-title'),
};

// Cells are drawn in pieces, as the end of those that are there comes near.
const more = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting) && view.filled < view.order.length) {
    fillPairs();
    lookAgain();
  }
}, { rootMargin: '800px' });

// The observer tells of changes only: what is still in view must be told anew.
function lookAgain() {
  more.unobserve(view.more);
  more.observe(view.more);
}

// The cell of a run that belongs to one of the baseline; null where it has none.
const partner = (run, cell) => (run ? compared[run - 1].partners[cell] : cell);

function valueOf(run, metric, cell) {
  const own = partner(run, cell);
  const column = runs[run].values[metric];
  return own === null || !column ? null : column[own];
}

// The same as in the tables: the difference over the size of the first.
function relative(cell, metric) {
  const [a, b] = [valueOf(state.left, metric, cell), valueOf(state.right, metric, cell)];
  if (a === null || b === null) return null;
  return a === b ? 0 : (b - a) / Math.abs(a);
}

const shownChange = (change) => (change === null || Number.isFinite(change) ? percentText(change) : 'from zero');

function pictureOf(run, cell, large) {
  const own = partner(run, cell);
  const { name, root, image, thumb, view: views } = runs[run];
  if (own === null || !thumb[own]) return null;
  const full = views[own] ? link(`thumbs/${views[own]}`) : link(`${root}/${image[own]}`);
  return { name, src: large ? full : link(`thumbs/${thumb[own]}`), alt: `${words[cell]}, ${name}` };
}

function ratioOf(cell) {
  for (let run = 0; run < runs.length; run += 1) {
    const own = partner(run, cell);
    if (own !== null && runs[run].width[own]) return runs[run].width[own] / runs[run].height[own];
  }
  return 4 / 3;
}

// Never much more than twice as large as the larger of the two.
function mostOf(cell) {
  const own = [state.left, state.right].map((run) => [runs[run].width, partner(run, cell)]);
  return `${2 * Math.max(...own.map(([width, place]) => (place === null ? 0 : width[place] || 0)))}px`;
}

function hole(run, cell) {
  const own = partner(run, cell);
  const { status, reason } = runs[run];
  return el('div', { class: own === null ? 'hole none' : 'hole', style: { '--ratio': ratioOf(cell) } },
    el('strong', {}, own === null ? 'not in this run' : status[own]),
    el('span', {}, own === null ? '' : reason[own] || 'no picture'));
}

function plain(run, cell, large) {
  const picture = pictureOf(run, cell, large);
  return el('div', { class: 'one' },
    picture
      ? el('img', { src: picture.src, alt: picture.alt, loading: 'lazy', style: { '--ratio': ratioOf(cell), '--most': mostOf(cell) } })
      : hole(run, cell),
    el('small', {}, ...breakable(runs[run].name)));
}

function wiped(cell, large) {
  const [left, right] = [pictureOf(state.left, cell, large), pictureOf(state.right, cell, large)];
  if (!left || !right) return null;
  const figure = wipe(left, right, ratioOf(cell));
  figure.style.setProperty('--most', mostOf(cell));
  return figure;
}

function changeLine(cell) {
  if (!state.metric) return null;
  const [a, b] = [state.left, state.right].map((run) => numberText(valueOf(run, state.metric, cell)));
  return el('p', { class: 'change' }, `${labelText(state.metric)} ${a} → ${b} `,
    el('b', {}, shownChange(relative(cell, state.metric))));
}

function card(cell) {
  const slider = state.look === 'slider' ? wiped(cell, false) : null;
  return el('article', { class: 'pair', 'data-cell': cell },
    el('div', { class: 'row' }, slider || runs.map((_, run) => plain(run, cell, false))),
    el('button', { type: 'button', class: 'open' }, ...breakable(words[cell])),
    changeLine(cell));
}

function sorted() {
  const wanted = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const found = words.map((_, cell) => cell)
    .filter((cell) => compared.some((one) => one.partners[cell] !== null))
    .filter((cell) => wanted.every((word) => words[cell].toLowerCase().includes(word)));
  if (state.order !== 'change') return found;
  const size = (cell) => {
    const change = relative(cell, state.metric);
    return change === null ? -1 : Math.abs(change);
  };
  return found.map((cell) => [cell, size(cell)]).sort((one, other) => other[1] - one[1] || one[0] - other[0])
    .map(([cell]) => cell);
}

function renderPairs() {
  view.order = sorted();
  view.filled = 0;
  view.cells.style.setProperty('--cell', `${state.size}px`);
  view.cells.replaceChildren();
  const order = state.order === 'change' ? `largest change of ${labelText(state.metric)} first` : 'in the order of the grid';
  view.shown.textContent = view.order.length
    ? `${countText(view.order.length, 'cell')}, ${order}.`
    : 'No cell of the baseline has a partner here.';
  fillPairs();
  lookAgain();
  saveState();
}

function fillPairs() {
  const piece = view.order.slice(view.filled, view.filled + PIECE);
  view.filled += piece.length;
  view.cells.append(...piece.map(card));
  view.more.hidden = view.filled >= view.order.length;
}

function renderControls() {
  const named = runs.map((run, n) => [n, run.name]);
  const set = (name, read = String) => (value) => {
    state[name] = read(value);
    renderPairs();
  };
  const filter = el('input', {
    type: 'search', value: state.filter, placeholder: 'style, content, setting …', size: 26,
    on: { input: () => set('filter')(filter.value) },
  });
  const size = el('input', {
    type: 'range', min: 96, max: 480, step: 4, value: state.size,
    on: {
      input: () => {
        state.size = Number(size.value);
        view.cells.style.setProperty('--cell', `${state.size}px`);
      },
    },
  });
  view.controls.replaceChildren(
    select('Show', [['side', 'side by side'], ['slider', 'under a slider']], state.look, set('look')),
    ...(runs.length > 2 ? [
      select('From', named, state.left, set('left', Number)),
      select('to', named, state.right, set('right', Number)),
    ] : []),
    select('Metric', all.metrics.map((name) => [name, labelText(name)]), state.metric, set('metric')),
    select('Order', [['change', 'largest change first'], ['grid', 'as in the grid']], state.order, set('order')),
    el('label', {}, el('span', {}, 'Filter'), filter),
    el('label', {}, el('span', {}, 'Size'), size),
  );
}

const LOOKS = [['slider', 'Slider'], ['side', 'Side by side']];
let large = 'slider';

function openPair(cell) {
  showPair(cell);
  if (!detail.dialog.open) detail.dialog.showModal();
}

function showPair(cell) {
  state.cell = cell;
  saveState();
  detail.title.replaceChildren(...breakable(words[cell]));
  showLarge();
  const used = [...new Set([state.left, state.right])];
  const differing = state.left === 0 && state.right ? compared[state.right - 1].changed : [];
  detail.facts.replaceChildren(...present([
    used.map((run) => {
      const own = partner(run, cell);
      if (own === null || runs[run].status[own] === 'ok') return null;
      return el('p', { class: 'note' }, el('strong', {}, `${runs[run].name}: ${runs[run].status[own]} `), runs[run].reason[own] || '');
    }),
    el('table', { class: 'metrics pair-metrics' },
      el('caption', {}, 'Metrics of this cell'),
      el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'metric'),
        [state.left, state.right].map((run) => el('th', { scope: 'col', class: 'numeric' }, ...breakable(runs[run].name))),
        el('th', { scope: 'col', class: 'numeric' }, 'change'))),
      el('tbody', {}, all.metrics.map((name) => el('tr', {},
        el('th', { scope: 'row' }, labelText(name)),
        [state.left, state.right].map((run) => el('td', { class: 'numeric' }, numberText(valueOf(run, name, cell)))),
        el('td', { class: 'numeric' }, shownChange(relative(cell, name))))))),
    changeList('Changed settings', differing),
    el('p', { class: 'links' }, used.map((run) => {
      const own = partner(run, cell);
      if (own === null) return null;
      const path = link(`${runs[run].root}/${runs[run].image[own]}`);
      return [
        el('a', { href: path }, `Picture, ${runs[run].name}`),
        el('a', { href: path.replace(/\.[^./]+$/, '.json') }, `Record, ${runs[run].name}`),
      ];
    })),
  ]));
}

function showLarge() {
  for (const button of detail.look.children) button.setAttribute('aria-pressed', String(button.value === large));
  const slider = large === 'slider' ? wiped(state.cell, true) : null;
  const pairOf = [...new Set([state.left, state.right])];
  detail.stage.replaceChildren(...(slider ? [slider] : pairOf.map((run) => plain(run, state.cell, true))));
}

function step(by) {
  const next = view.order[view.order.indexOf(state.cell) + by];
  if (next !== undefined) showPair(next);
}

detail.look.append(...LOOKS.map(([value, text]) => el('button', {
  type: 'button', value, on: { click: () => { large = value; showLarge(); } },
}, text)));
document.getElementById('detail-back').addEventListener('click', () => step(-1));
document.getElementById('detail-on').addEventListener('click', () => step(1));
document.getElementById('detail-close').addEventListener('click', () => detail.dialog.close());
detail.dialog.addEventListener('click', (event) => {
  if (event.target === detail.dialog) detail.dialog.close();
});
detail.dialog.addEventListener('close', () => {
  if (detail.dialog.open) return; // it was opened again before this was told
  const opener = view.cells.querySelector(`[data-cell="${state.cell}"] .open`);
  if (opener) opener.focus();
  state.cell = null;
  saveState();
});
detail.dialog.addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.type === 'range') return;
  const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  step(by);
});
view.cells.addEventListener('click', (event) => {
  const chosen = event.target.closest('.pair');
  if (chosen && event.target.closest('.open, .one img')) openPair(Number(chosen.dataset.cell));
});
view.controls.addEventListener('submit', (event) => event.preventDefault());
more.observe(view.more);
