// One cell in full: its picture, beside what it was made from and how it is made again.

const detail = {
  dialog: document.getElementById('detail'),
  facts: document.getElementById('detail-facts'),
  title: document.getElementById('detail-title'),
  comparison: null,
  cell: null,
  walk: null, // (cell, across, down) => the neighbour in the view that opened the dialog
};

function openCell(cell, walk) {
  detail.walk = walk || detail.walk;
  resetZoom();
  if (!detail.dialog.open) detail.dialog.showModal();
  showCell(cell);
}

function showCell(cell) {
  detail.cell = cell;
  state.cell = cell;
  detail.title.replaceChildren(...breakable(valueOf('style', cell)), ' × ', ...breakable(valueOf('content', cell)));
  detail.comparison = el('div', {});
  detail.facts.replaceChildren(...present([
    statusNote(cell),
    factList(axes.map((axis) => [labelText(axis.name), valueOf(axis.name, cell)])),
    detail.comparison,
    section('Loss', curvePlace(cell)),
    section('Make it again', againPlace(cell)),
    folded('All settings', factList(settingsOf(cell))),
    folded('Record', recordPlace(cell)),
    el('p', { class: 'links' },
      run.cells.thumb[cell] ? fileLink(pictureName(cell), 'Picture file') : null,
      el('a', { href: recordPath(cell) }, 'Record file')),
  ]));
  showComparison();
}

// What depends on the cell that this one is compared with.
function showComparison() {
  saveState();
  showTools(detail.cell);
  showStage(detail.cell);
  detail.comparison.replaceChildren(comparisonOf(detail.cell));
}

// A link to a file; no browser opens a picture that the page holds, but it can be saved.
function fileLink(path, text) {
  const held = Object.hasOwn(inside, path);
  return el('a', { href: link(path), download: held ? path.split('/').at(-1) : null }, text);
}

function statusNote(cell) {
  const failure = failureOf.get(cell);
  if (!failure) return null;
  return el('p', { class: 'note' }, el('strong', {}, failure.title), ' ', failure.reason);
}

const factList = (pairs) => el('dl', {},
  pairs.map(([name, value]) => el('div', {}, el('dt', {}, ...breakable(name)), el('dd', {}, ...breakable(value)))));

const section = (title, ...content) => el('section', {}, el('h3', {}, title), ...content);

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

function againPlace(cell) {
  const place = el('div', {});
  chunkOf('records', cell).then((entry) => {
    const parts = [];
    if (entry && entry.command) {
      parts.push(el('p', { class: 'empty' }, 'In a terminal, in the folder where the run was started:'),
        copyable('Copy the command', entry.command));
    } else {
      parts.push(el('p', { class: 'empty' }, entry ? 'It was not made; running the workflow again tries again.' : 'No record is known.'));
    }
    if (entry && entry.yaml) parts.push(folded('Settings as YAML', copyable('Copy this cell’s settings as YAML', entry.yaml)));
    place.replaceChildren(...parts);
  });
  return place;
}

function recordPlace(cell) {
  const place = el('div', {});
  chunkOf('records', cell).then((entry) => {
    place.replaceChildren(entry
      ? copyable('Copy the record', JSON.stringify(entry.record, null, 1))
      : el('p', { class: 'empty' }, 'No record is known.'));
  });
  return place;
}

// A text, and a button that copies it.
function copyable(label, text) {
  const shown = el('pre', { tabindex: 0 }, text);
  const button = el('button', { type: 'button', class: 'plain', on: { click: () => {
    copyText(text, shown).then((done) => {
      button.textContent = done ? 'Copied' : 'Selected: press Ctrl+C';
      window.setTimeout(() => { button.textContent = label; }, 2000);
    });
  } } }, label);
  return el('div', { class: 'copyable' }, shown, button);
}

// Not every browser gives pages from the disk the clipboard: then it is asked in the old way.
async function copyText(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el('textarea', { class: 'offscreen', readonly: true });
    area.value = text;
    shown.after(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    if (!done) window.getSelection().selectAllChildren(shown);
    return done;
  }
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

document.getElementById('detail-back').addEventListener('click', () => step(-1, 0));
document.getElementById('detail-on').addEventListener('click', () => step(1, 0));
document.getElementById('detail-close').addEventListener('click', () => detail.dialog.close());
detail.dialog.addEventListener('click', (event) => {
  if (event.target === detail.dialog) detail.dialog.close();
});
detail.dialog.addEventListener('close', () => {
  if (detail.dialog.open) return; // it was opened anew before this came
  stopFlicker();
  stopFilm();
  state.cell = null;
  state.mode = 'picture';
  saveState();
  if (state.view === 'matrix') markCells();
  if (matrix.picked) return;
  const shown = document.querySelector(`main > :not([hidden]) [data-cell="${detail.cell}"]`);
  if (shown) shown.focus();
});
detail.dialog.addEventListener('keydown', (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest('select, pre, input')) return;
  const mode = MODES[Number(event.key) - 1];
  if (moves[event.key]) {
    event.preventDefault();
    step(...moves[event.key]);
  } else if (event.key !== ' ' && mode) {
    setMode(mode[0]);
  } else if (event.key === '+' || event.key === '=') {
    zoomTo(viewer.zoom * 1.5);
  } else if (event.key === '-') {
    zoomTo(viewer.zoom / 1.5);
  } else if (event.key === '0') {
    resetZoom();
  } else if (event.key === ' ' && state.mode === 'flicker' && !event.target.closest('button, summary, input, a')) {
    event.preventDefault();
    showOther(true);
  }
});
detail.dialog.addEventListener('keyup', (event) => {
  if (event.key === ' ' && state.mode === 'flicker' && compare.timer === null) showOther(false);
});
