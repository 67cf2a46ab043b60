// The run's data, and the few helpers that all views share.

const run = JSON.parse(document.getElementById('data').textContent);
const axes = run.axes;
const axisOf = new Map(axes.map((axis) => [axis.name, axis]));
const at = run.cells.at;
const count = run.cells.status.length;
const varying = axes.filter((axis) => axis.values.length > 1);

// What is shown of a value: the title of a bundle's, an id as it is.
const valueOf = (name, cell) => axisOf.get(name).shown[at[name][cell]];

// An element with properties and children; text is always text, never markup.
function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, properties, children);
  return element;
}

const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined);

const SVG = document.getElementById('svg').namespaceURI;

function svg(tag, properties = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  fill(element, properties, children);
  return element;
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === 'style') {
      for (const [key, setting] of Object.entries(value)) element.style.setProperty(key, setting);
    } else if (value === true) {
      element.setAttribute(name, '');
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value);
    }
  }
  element.append(...present(children));
}

// A path relative to the page as a URL, or the picture itself where the page holds it; names may hold any
// character.
const inside = (run.inline && run.inline.pictures) || {};
const link = (path) => (Object.hasOwn(inside, path) ? inside[path] : path.split('/').map(encodeURIComponent).join('/'));
const pictureName = (cell) => `${run.root}/${run.cells.image[cell]}`;
const picturePath = (cell) => link(pictureName(cell));
const recordPath = (cell) => link(pictureName(cell).replace(/\.[^./]+$/, '.json'));
const viewPath = (cell) =>
  (run.cells.view[cell] ? link(`thumbs/${run.cells.view[cell]}`) : picturePath(cell));
const thumbPath = (cell) => run.cells.thumb[cell] && link(`thumbs/${run.cells.thumb[cell]}`);
const sourceOf = (axis, id) => (run.sources[axis] || {})[id] || null;

function numberText(value) {
  if (value === null || value === undefined) return '–';
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2);
  return String(Number(value.toPrecision(size >= 1000 ? 5 : 4)));
}

// What a cell is, in words.
function cellName(cell) {
  const rest = varying
    .filter((axis) => !axis.pictures)
    .map((axis) => `${axis.name} ${valueOf(axis.name, cell)}`);
  return [`${valueOf('content', cell)} in the style ${valueOf('style', cell)}`, ...rest].join(', ');
}

// Underscores become blanks, but not those in the names of layers such as relu4_1.
const LABELS = { tv: 'total variation', ssim: 'SSIM', peak_memory_mb: 'peak memory, MB' };
const labelText = (name) => LABELS[name] || name.replace(/_(?!\d)/g, ' ');

// A long name that may break after its separators rather than anywhere.
function breakable(text) {
  return String(text)
    .split(/(?<=[_,\-+=/])/)
    .flatMap((part, number) => (number ? [el('wbr'), part] : [part]));
}

// Width and height of a cell's picture; of one that failed, those of its neighbours.
const shapes = new Map();
for (let cell = 0; cell < count; cell += 1) {
  const content = at.content[cell];
  if (run.cells.width[cell] && !shapes.has(content)) shapes.set(content, [run.cells.width[cell], run.cells.height[cell]]);
}
const shapeOf = (cell) => (run.cells.width[cell]
  ? [run.cells.width[cell], run.cells.height[cell]]
  : shapes.get(at.content[cell]) || [4, 3]);

// A placeholder for a cell without a picture.
function placeholder(cell) {
  const status = cell === undefined ? 'none' : run.cells.status[cell];
  return [
    el('strong', {}, cell === undefined ? 'not in the grid' : status),
    el('span', {}, cell === undefined ? '' : run.cells.reason[cell] || 'no picture'),
  ];
}
