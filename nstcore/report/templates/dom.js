// The few helpers that all views share: elements, links, numbers and names as people read them.

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

let inside = {}; // pictures that the page holds itself: path => data: URI

// A path relative to the page as a URL, or the picture itself where the page holds it; names may hold any
// character.
const link = (path) => (Object.hasOwn(inside, path) ? inside[path] : path.split('/').map(encodeURIComponent).join('/'));

function numberText(value) {
  if (value === null || value === undefined) return '–';
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2);
  return String(Number(value.toPrecision(size >= 1000 ? 5 : 4)));
}

// What is shown of a name; those of metrics come with the data.  In others underscores become blanks, but not in
// the names of layers such as relu4_1.
let labels = {};
const labelText = (name) => labels[name] || name.replace(/_(?!\d)/g, ' ');

// A long name that may break after its separators rather than anywhere.
function breakable(text) {
  return String(text)
    .split(/(?<=[_,\-+=/])/)
    .flatMap((part, number) => (number ? [el('wbr'), part] : [part]));
}

// A labelled choice among options: pairs of value and text.
function select(label, options, chosen, change, properties = {}) {
  const box = el('select', { ...properties, on: { change: () => change(box.value) } },
    options.map(([value, text]) => el('option', { value, selected: String(value) === String(chosen) }, text)));
  return el('label', {}, el('span', {}, label), box);
}
