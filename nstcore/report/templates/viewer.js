// The stage of the detail view: pictures in one or two panes, with the same zoom and pan.

const viewer = {
  stage: document.getElementById('detail-stage'),
  zoom: 1,
  x: 0, // shift of the middle in pixels
  y: 0,
  pointers: new Map(), // id => where it is; with two of them a picture is pinched
};

const MOST_ZOOM = 16;

// A picture; what cannot be loaded, because the page was moved away from it, gives way to its thumbnail.
function layer(src, alt, spare) {
  const image = el('img', { src, alt, draggable: 'false', decoding: 'async' });
  if (spare && spare !== src) {
    image.addEventListener('error', () => {
      image.src = spare;
      image.closest('.pane')?.append(el('p', { class: 'aside' }, 'The full picture is not beside this page; in its place its thumbnail.'));
    }, { once: true });
  }
  return image;
}

// A box of a picture's proportions, as large as there is room, but never more than twice its size.
function box(shape, properties, ...layers) {
  const frame = el('div', properties, ...layers);
  frame.classList.add('box');
  shapeBox(frame, shape);
  return frame;
}

function shapeBox(frame, [width, height]) {
  frame.style.setProperty('--ratio', width / height);
  frame.style.setProperty('--most', `${2 * width}px`);
}

const pane = (label, frame) => el('div', { class: 'pane' },
  label ? el('p', { class: 'label' }, ...label) : null, el('div', { class: 'room' }, frame));

function placeBoxes() {
  viewer.stage.style.setProperty('--zoom', viewer.zoom);
  viewer.stage.style.setProperty('--x', `${viewer.x}px`);
  viewer.stage.style.setProperty('--y', `${viewer.y}px`);
  viewer.stage.classList.toggle('zoomed', viewer.zoom > 1);
}

// Size and middle of a box as they are without zoom and pan.
function restOf(frame) {
  const shown = frame.getBoundingClientRect();
  return {
    width: shown.width / viewer.zoom,
    height: shown.height / viewer.zoom,
    x: shown.left + shown.width / 2 - viewer.x,
    y: shown.top + shown.height / 2 - viewer.y,
  };
}

function moveTo(x, y, rest) {
  const clamp = (value, side) => Math.max(-1, Math.min(1, value / (side || 1))) * side;
  viewer.x = clamp(x, (rest.width * (viewer.zoom - 1)) / 2);
  viewer.y = clamp(y, (rest.height * (viewer.zoom - 1)) / 2);
  placeBoxes();
}

// Zoom so that the point under the pointer stays, or the middle.
function zoomTo(zoom, point) {
  const under = point && document.elementFromPoint(point.x, point.y);
  const place = (under && under.closest('.pane')) || viewer.stage;
  const frame = place.querySelector('.box') || viewer.stage.querySelector('.box');
  if (!frame) return;
  const rest = restOf(frame);
  const next = Math.max(1, Math.min(MOST_ZOOM, zoom));
  const ratio = next / viewer.zoom;
  const [x, y] = point ? [point.x - rest.x, point.y - rest.y] : [0, 0];
  viewer.zoom = next;
  moveTo(x - (x - viewer.x) * ratio, y - (y - viewer.y) * ratio, rest);
}

function resetZoom() {
  Object.assign(viewer, { zoom: 1, x: 0, y: 0 });
  placeBoxes();
}

const pointOf = (event) => ({ x: event.clientX, y: event.clientY });

viewer.stage.addEventListener('wheel', (event) => {
  event.preventDefault();
  zoomTo(viewer.zoom * 2 ** (-event.deltaY / 300), pointOf(event));
}, { passive: false });
viewer.stage.addEventListener('dblclick', (event) => {
  if (viewer.zoom > 1) resetZoom();
  else zoomTo(3, pointOf(event));
});
viewer.stage.addEventListener('pointerdown', (event) => {
  if (!event.target.closest('.box')) return;
  viewer.pointers.set(event.pointerId, pointOf(event));
});
viewer.stage.addEventListener('pointermove', (event) => {
  const before = viewer.pointers.get(event.pointerId);
  if (!before || event.defaultPrevented) return;
  const after = pointOf(event);
  const other = [...viewer.pointers].find(([id]) => id !== event.pointerId)?.[1];
  viewer.pointers.set(event.pointerId, after);
  if (other) {
    const apart = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
    zoomTo((viewer.zoom * apart(after)) / apart(before), { x: (after.x + other.x) / 2, y: (after.y + other.y) / 2 });
  } else if (viewer.zoom > 1) {
    viewer.stage.setPointerCapture(event.pointerId);
    moveTo(viewer.x + after.x - before.x, viewer.y + after.y - before.y, restOf(event.target.closest('.box') || viewer.stage.querySelector('.box')));
  }
});
for (const end of ['pointerup', 'pointercancel', 'pointerleave']) {
  viewer.stage.addEventListener(end, (event) => viewer.pointers.delete(event.pointerId));
}
