// The run's data.

const run = JSON.parse(document.getElementById('data').textContent);
const axes = run.axes;
const axisOf = new Map(axes.map((axis) => [axis.name, axis]));
const at = run.cells.at;
const count = run.cells.status.length;
const varying = axes.filter((axis) => axis.values.length > 1);

// What is shown of a value: the title of a bundle's, an id as it is.
const valueOf = (name, cell) => axisOf.get(name).shown[at[name][cell]];

labels = run.labels;
inside = (run.inline && run.inline.pictures) || {};
const pictureName = (cell) => `${run.root}/${run.cells.image[cell]}`;
const picturePath = (cell) => link(pictureName(cell));
const recordPath = (cell) => link(pictureName(cell).replace(/\.[^./]+$/, '.json'));
const thumbLink = (name) => link(`${run.thumbs}/${name}`);
const viewPath = (cell) =>
  (run.cells.view[cell] ? thumbLink(run.cells.view[cell]) : picturePath(cell));
const thumbPath = (cell) => run.cells.thumb[cell] && thumbLink(run.cells.thumb[cell]);
const sourceOf = (axis, id) => (run.sources[axis] || {})[id] || null;

// What a cell is, in words.
function cellName(cell) {
  const rest = varying
    .filter((axis) => !axis.pictures)
    .map((axis) => `${axis.name} ${valueOf(axis.name, cell)}`);
  return [`${valueOf('content', cell)} in the style ${valueOf('style', cell)}`, ...rest].join(', ');
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

// Whether a cell is still to be made, in a run that is under way.
const isPending = (cell) => run.cells.status[cell] === 'pending';

// A placeholder for a cell without a picture.
function placeholder(cell) {
  if (cell === undefined) return [el('strong', {}, 'not in the grid')];
  if (isPending(cell)) return [el('span', { 'data-pending': cell }, ...progressOf(cell))];
  return [
    el('strong', {}, run.cells.status[cell]),
    el('span', {}, run.cells.reason[cell] || 'no picture'),
  ];
}
