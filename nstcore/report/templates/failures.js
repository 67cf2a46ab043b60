// Every cell that failed, diverged, ran out of memory, was not made, or not as its settings say.

const flawed = Array.from({ length: count }, (_, cell) => cell).filter((cell) => run.cells.status[cell] !== 'ok' && !isPending(cell));
const FAILURES_PIECE = 200; // entries of a kind that are shown at first

const failureOf = new Map(run.failures.groups.flatMap(
  ({ title, cells }) => cells.map((entry) => [entry.cell, { ...entry, title }]),
));
const failing = [...failureOf.keys()];

function renderFailures() {
  const place = document.getElementById('failures');
  const groups = run.failures.groups
    .map((group) => ({ ...group, cells: group.cells.filter((entry) => selection.has(entry.cell)) }))
    .filter((group) => group.cells.length);
  if (!groups.length) {
    place.replaceChildren(el('p', { class: 'empty' }, failing.length
      ? 'No cell of the selection failed.' : 'Every cell of this run is finished.'));
    return;
  }
  place.replaceChildren(...groups.map(failureGroup));
}

function failureGroup(group) {
  const list = el('ul', { class: 'failures' });
  const fill = (entries) => list.append(...entries.map(failureEntry));
  fill(group.cells.slice(0, FAILURES_PIECE));
  const rest = group.cells.slice(FAILURES_PIECE);
  const more = rest.length ? el('button', { type: 'button', class: 'plain', on: { click: () => {
    fill(rest);
    more.remove();
  } } }, `Show ${rest.length} more`) : null;
  return section(`${group.title} (${group.cells.length})`, list, more);
}

function failureEntry({ cell, reason, log }) {
  const thumb = thumbPath(cell);
  return el('li', {},
    thumb ? el('img', { src: thumb, alt: '', loading: 'lazy' }) : null,
    el('div', {},
      el('button', { type: 'button', class: 'link', 'data-cell': cell, on: { click: () => openCell(cell, walkFailures) } }, cellName(cell)),
      el('p', {}, reason),
      log === null ? null : logPlace(run.failures.logs[log])));
}

function logPlace({ file, tail }) {
  const whole = el('a', { href: link(file) }, 'the whole log');
  if (!tail) return el('p', {}, whole);
  return folded('What the log of its job says at the end', el('div', {}, el('pre', { tabindex: 0 }, tail), el('p', {}, whole)));
}

function walkFailures(cell, across, down) {
  const shown = failing.filter(selection.has);
  return shown[shown.indexOf(cell) + across + down];
}
