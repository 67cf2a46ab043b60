// One cell in full: its picture, beside what it was made from.

const detail = {
  dialog: document.getElementById('detail'),
  stage: document.getElementById('detail-stage'),
  look: document.getElementById('detail-look'),
  facts: document.getElementById('detail-facts'),
  title: document.getElementById('detail-title'),
  cell: null,
  shown: 'picture',
  walk: null, // (cell, across, down) => the neighbour in the view that opened the dialog
};

function openCell(cell, walk) {
  detail.walk = walk || detail.walk;
  detail.shown = 'picture';
  showCell(cell);
  if (!detail.dialog.open) detail.dialog.showModal();
}

function showCell(cell) {
  detail.cell = cell;
  state.cell = cell;
  saveState();
  detail.title.replaceChildren(...breakable(valueOf('style', cell)), ' × ', ...breakable(valueOf('content', cell)));
  showPicture();
  detail.facts.replaceChildren(...present([
    statusNote(cell),
    factList(axes.map((axis) => [labelText(axis.name), valueOf(axis.name, cell)])),
    section('Metrics', metricList(cell)),
    section('Loss', curvePlace(cell)),
    folded('All settings', factList(settingsOf(cell))),
    el('p', { class: 'links' },
      run.cells.thumb[cell] ? el('a', { href: picturePath(cell) }, 'Picture file') : null,
      el('a', { href: recordPath(cell) }, 'Record')),
  ]));
}

function showPicture() {
  const { cell } = detail;
  for (const button of detail.look.children) {
    button.setAttribute('aria-pressed', String(button.value === detail.shown));
  }
  if (detail.shown === 'picture') {
    const failed = !run.cells.thumb[cell];
    detail.stage.replaceChildren(failed
      ? el('div', { class: 'hole' }, ...placeholder(cell))
      : fitted(viewPath(cell), cellName(cell)));
    return;
  }
  const id = valueOf(detail.shown, cell);
  const source = sourceOf(detail.shown, id);
  const files = source ? source.files : [];
  detail.stage.replaceChildren(...(files.length
    ? files.map((file) => fitted(link(file), `${detail.shown} ${id}`))
    : [el('div', { class: 'hole' }, 'no picture')]));
}

// A picture as large as there is room, but never more than twice its own size.
function fitted(src, alt) {
  const image = el('img', { src, alt });
  image.addEventListener('load', () => {
    image.style.setProperty('--most-wide', `${2 * image.naturalWidth}px`);
    image.style.setProperty('--most-tall', `${2 * image.naturalHeight}px`);
  });
  return image;
}

function statusNote(cell) {
  if (run.cells.status[cell] === 'ok') return null;
  return el('p', { class: 'note' }, el('strong', {}, run.cells.status[cell]), ' ', run.cells.reason[cell] || '');
}

const factList = (pairs) => el('dl', {},
  pairs.map(([name, value]) => el('div', {}, el('dt', {}, ...breakable(name)), el('dd', {}, ...breakable(value)))));

const section = (title, content) => el('section', {}, el('h3', {}, title), content);

const folded = (title, content) => el('details', {}, el('summary', {}, title), content);

function metricList(cell) {
  const names = Object.keys(run.metrics).filter((name) => run.metrics[name][cell] !== null);
  if (!names.length) return el('p', { class: 'empty' }, 'This cell was not measured.');
  return factList(names.map((name) => [labelText(name), numberText(run.metrics[name][cell])]));
}

function curvePlace(cell) {
  const place = el('div', { class: 'curves' });
  curvesOf(cell).then((curves) => {
    place.replaceChildren(curves ? drawCurves(curves) : el('p', { class: 'empty' }, 'No loss curve was kept.'));
  });
  return place;
}

function settingsOf(cell) {
  const own = Object.entries(run.settings.own).map(([name, values]) => [name, values[cell]]);
  const all = [...Object.entries(run.settings.same), ...own].filter(([, value]) => value !== null);
  return all.sort(([one], [other]) => one.localeCompare(other));
}

function step(across, down) {
  const next = detail.walk && detail.walk(detail.cell, across, down);
  if (next !== undefined && next !== null) showCell(next);
}

const LOOKS = [['picture', 'Result'], ['content', 'Content'], ['style', 'Style']];
detail.look.append(...LOOKS.map(([value, text], n) => el('button', {
  type: 'button', value, title: `Key ${n + 1}`, on: { click: () => look(value) },
}, text)));

function look(value) {
  detail.shown = value;
  showPicture();
}

document.getElementById('detail-back').addEventListener('click', () => step(-1, 0));
document.getElementById('detail-on').addEventListener('click', () => step(1, 0));
document.getElementById('detail-close').addEventListener('click', () => detail.dialog.close());
detail.dialog.addEventListener('click', (event) => {
  if (event.target === detail.dialog) detail.dialog.close();
});
detail.dialog.addEventListener('close', () => {
  const shown = document.querySelector(`main > :not([hidden]) [data-cell="${detail.cell}"]`);
  if (shown) shown.focus();
  state.cell = null;
  saveState();
});
detail.dialog.addEventListener('keydown', (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (moves[event.key]) {
    event.preventDefault();
    step(...moves[event.key]);
  } else if (['1', '2', '3'].includes(event.key)) {
    look(LOOKS[Number(event.key) - 1][0]);
  }
});
