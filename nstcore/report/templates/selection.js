// The selection that all views share: words, ranges of axes and metrics, the Pareto front of these.

const selection = {
  words: '',
  ranges: new Map(), // name of a column => [low, high], infinite where it is open
  front: false, // only the Pareto front of the cells that words and ranges leave
  members: null, // one byte a cell, found when it is asked for
  frame: 0,
  timer: 0,
  has: (cell) => !selection.active() || selectionMembers()[cell] === 1,
  active: () => Boolean(selection.words.trim() || selection.ranges.size || selection.front),
  cells: () => everyCell.filter(selection.has),
};

const everyCell = Array.from({ length: count }, (_, cell) => cell);
const SELECTION_SAVE_MS = 300; // a browser refuses an address that changes with every movement

const cellWords = [];

function wordsOf(cell) {
  cellWords[cell] ||= `${cellName(cell)} ${run.cells.status[cell]} ${run.cells.setting[cell]}`.toLowerCase();
  return cellWords[cell];
}

// The cells that words and ranges leave.
function selectionWithoutFront() {
  const members = new Uint8Array(count).fill(1);
  const words = selection.words.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length) {
    for (const cell of everyCell) {
      if (!words.every((word) => wordsOf(cell).includes(word))) members[cell] = 0;
    }
  }
  for (const [name, [low, high]] of selection.ranges) {
    const numbers = columnOf.get(name).at;
    for (const cell of everyCell) {
      if (!(numbers[cell] >= low && numbers[cell] <= high)) members[cell] = 0;
    }
  }
  return members;
}

function selectionMembers() {
  if (!selection.members) {
    selection.members = selectionWithoutFront();
    if (selection.front) {
      const { front } = frontOf(everyCell.filter((cell) => selection.members[cell]), state.x, state.y);
      selection.members.fill(0);
      for (const cell of front) selection.members[cell] = 1;
    }
  }
  return selection.members;
}

// Everything that shows the selection is drawn anew, once a frame.
function selectionChanged() {
  selection.members = null;
  selection.frame ||= requestAnimationFrame(() => {
    selection.frame = 0;
    renderChips();
    RENDER[state.view]();
  });
  clearTimeout(selection.timer);
  selection.timer = setTimeout(saveState, SELECTION_SAVE_MS);
}

// Select a range of a column; one that is open at both ends is none.
function selectRange(name, low, high) {
  const column = columnOf.get(name);
  const rounded = (number) => (Number.isFinite(number) && !column.axis ? Number(number.toPrecision(6)) : number);
  if (low === -Infinity && high === Infinity) selection.ranges.delete(name);
  else selection.ranges.set(name, [rounded(low), rounded(high)]);
  selectionChanged();
}

function selectFront(only) {
  selection.front = only;
  selectionChanged();
}

function clearSelection() {
  selection.words = '';
  filterInput.value = '';
  selection.ranges.clear();
  selection.front = false;
  selectionChanged();
}

function rangeText(column, low, high) {
  const label = labelText(column.name);
  if (column.axis) {
    const inside = column.values.filter((value) => value >= low && value <= high);
    if (column.ordinal ? inside.length <= 3 : inside.length <= 1) {
      return `${label} ${inside.map(column.text).join(', ') || 'none'}`;
    }
    return `${label} ${column.text(inside[0])}–${column.text(inside.at(-1))}`;
  }
  if (low === -Infinity) return `${label} ≤ ${numberText(high)}`;
  if (high === Infinity) return `${label} ≥ ${numberText(low)}`;
  return `${label} ${numberText(low)}–${numberText(high)}`;
}

// What is selected by, in words, and how each is taken back.
function selectionParts() {
  const parts = [...selection.ranges].map(([name, [low, high]]) => [
    rangeText(columnOf.get(name), low, high), () => selectRange(name, -Infinity, Infinity),
  ]);
  if (selection.words.trim()) {
    parts.unshift([`“${selection.words.trim()}”`, () => { filterInput.value = ''; selectWords(''); }]);
  }
  if (selection.front) parts.push([`Pareto front of ${labelText(state.x)} and ${labelText(state.y)}`, () => selectFront(false)]);
  return parts;
}

function renderChips() {
  const chips = document.getElementById('chips');
  const focused = [...chips.querySelectorAll('button')].indexOf(document.activeElement);
  const active = selection.active();
  // Where the selection is made the bar is always there, so that nothing moves under the pointer.
  chips.hidden = !active && filterForm.hidden;
  document.getElementById('selecting').classList.toggle('follows', state.view === 'explore');
  document.getElementById('chips-clear').hidden = !active;
  const all = `${count.toLocaleString('en')} ${count === 1 ? 'cell' : 'cells'}`;
  document.getElementById('chips-count').textContent = active ? `${selection.cells().length.toLocaleString('en')} of ${all}` : all;
  document.getElementById('chips-parts').replaceChildren(...selectionParts().map(([text, clear]) => el('li', {},
    el('button', { type: 'button', class: 'chip', 'aria-label': `Remove ${text}`, on: { click: clear } },
      el('span', {}, text), el('span', { 'aria-hidden': 'true' }, '×')))));
  if (focused < 0) return;
  const rest = [...chips.querySelectorAll('button')];
  if (!active) document.getElementById(`tab-${state.view}`).focus();
  else rest[Math.min(focused, rest.length - 1)].focus();
}

function selectWords(words) {
  selection.words = words;
  selectionChanged();
}

function saveSelection(query) {
  if (selection.words.trim()) query.set('filter', selection.words.trim());
  for (const [name, [low, high]] of selection.ranges) {
    const { spelt } = columnOf.get(name);
    if (low !== -Infinity) query.set(`from.${name}`, spelt(low));
    if (high !== Infinity) query.set(`to.${name}`, spelt(high));
  }
  if (selection.front) query.set('only', 'front');
}

// Values that this run does not have leave their end of the range open.
function loadSelection(query) {
  selection.words = query.get('filter') || '';
  selection.front = query.get('only') === 'front' && senseOf(state.x) !== 0 && senseOf(state.y) !== 0;
  selection.ranges.clear();
  for (const [name, column] of columnOf) {
    const end = (side, open) => {
      const text = query.get(`${side}.${name}`);
      const number = text ? column.read(text) : NaN;
      return Number.isFinite(number) && !(column.ordinal && number < 0) ? number : open;
    };
    const [low, high] = [end('from', -Infinity), end('to', Infinity)];
    if (low !== -Infinity || high !== Infinity) selection.ranges.set(name, [low, high]);
  }
  selection.members = null;
  filterInput.value = selection.words;
}

const filterInput = el('input', {
  type: 'search', placeholder: 'style, content, status …', size: 30,
  on: { input: () => selectWords(filterInput.value) },
});
const filterForm = document.getElementById('filter');
filterForm.append(el('label', {}, el('span', {}, 'Filter'), filterInput));
filterForm.addEventListener('submit', (event) => event.preventDefault());
document.getElementById('chips-clear').addEventListener('click', clearSelection);

// What belongs to the view that is shown now.
function showSelection() {
  filterForm.hidden = !['explore', 'table'].includes(state.view);
  renderChips();
}
