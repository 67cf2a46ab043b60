// What the plots of the Explore view share: canvases, colours, the card of the cell pointed at.

const HUES = 8;
const RAMP_STEPS = 24;
const LINES_A_FRAME = 300; // so many long lines are stroked before the browser may do something else

const themeColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A canvas as sharp as the screen, empty, to be drawn on in CSS pixels.
function clearedCanvas(canvas, width, height) {
  const sharp = Math.min(2, window.devicePixelRatio || 1);
  const [wide, tall] = [Math.round(width * sharp), Math.round(height * sharp)];
  if (canvas.width !== wide || canvas.height !== tall) [canvas.width, canvas.height] = [wide, tall];
  canvas.style.setProperty('width', `${width}px`);
  canvas.style.setProperty('height', `${height}px`);
  const context = canvas.getContext('2d');
  context.setTransform(sharp, 0, 0, sharp, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// Call draw for each of a list, some a frame, until all are drawn or the function returned is called.
// The order is spread over the list, so that the first frame already shows all of it, only sparsely.
// Their number counts and not the time: a browser strokes them later than it is told to.
function drawSpread(list, draw) {
  const strides = Math.ceil(list.length / LINES_A_FRAME) || 1;
  let [stride, frame] = [0, 0];
  const next = () => {
    for (let n = stride; n < list.length; n += strides) draw(list[n]);
    stride += 1;
    frame = stride < strides ? requestAnimationFrame(next) : 0;
  };
  next();
  return () => cancelAnimationFrame(frame);
}

const colourChoices = () => [...axisColumns.map((column) => column.name), 'status', ...metricColumns.map((column) => column.name)];

// One colour for each cell: `of` gives its number in `colours`, `legend` says what they mean.
function colouringBy(name) {
  const column = columnOf.get(name);
  if (name === 'status' || !column) {
    const values = [...new Set(run.cells.status)];
    return hues(values, (cell) => values.indexOf(run.cells.status[cell]));
  }
  if (column.ordinal) return hues(column.axis.shown, (cell) => column.at[cell]);
  return ramp(column);
}

// The last colour stands for all values that there are no more hues for.
function hues(values, placeOf) {
  const own = values.length > HUES ? HUES - 1 : values.length;
  const colours = [...Array.from({ length: own }, (_, n) => themeColour(`--hue-${n}`)), themeColour('--muted')];
  const names = values.slice(0, own);
  if (own < values.length) names.push(`${values.length - own} others`);
  return {
    colours,
    of: (cell) => Math.min(placeOf(cell), own),
    legend: () => el('ul', { class: 'legend' }, names.map((text, n) => el('li', {},
      el('i', { style: { background: colours[n] } }), shortened(text, 28)))),
  };
}

function ramp(column) {
  const colour = d3.interpolateRgbBasis(themeColour('--ramp-stops').split(/\s+/));
  const colours = Array.from({ length: RAMP_STEPS }, (_, n) => colour(n / (RAMP_STEPS - 1)));
  const [low, high] = column.domain;
  const part = low === high ? () => 0.5 : (column.log ? d3.scaleLog : d3.scaleLinear)([low, high], [0, 1]);
  return {
    colours: [...colours, themeColour('--muted')],
    of: (cell) => (Number.isNaN(column.at[cell]) ? RAMP_STEPS : Math.round(part(column.at[cell]) * (RAMP_STEPS - 1))),
    legend: () => el('p', { class: 'legend gradient' }, el('span', {}, column.text(low)),
      el('i', { style: { background: `linear-gradient(to right, ${colours.join(', ')})` } }),
      el('span', {}, `${column.text(high)}${column.log ? ' (log)' : ''}`)),
  };
}

// The card of the cell pointed at: its picture, its name, the numbers of this plot.
function cellCard(cell, names) {
  const thumb = thumbPath(cell);
  return [
    thumb ? el('img', { src: thumb, alt: '' }) : el('div', { class: 'hole' }, ...placeholder(cell)),
    el('strong', {}, cellName(cell)),
    el('dl', {}, [...new Set(names)].filter((name) => columnOf.has(name)).map((name) => el('div', {},
      el('dt', {}, labelText(name)), el('dd', {}, columnOf.get(name).text(columnOf.get(name).at[cell]))))),
  ];
}

// Stand a card beside a point of the box around it, on the side where there is more room.
function placeCard(card, x, y, width) {
  card.hidden = false;
  const room = 14;
  const left = x > width / 2 ? x - room - card.offsetWidth : x + room;
  card.style.setProperty('left', `${Math.max(0, Math.min(width - card.offsetWidth, left))}px`);
  card.style.setProperty('top', `${Math.max(0, y - card.offsetHeight / 2)}px`);
}

// Where a pointer is within an element, in CSS pixels.
function pointIn(element, event) {
  const box = element.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

// A number's label along an axis.
const tickText = (x, y, anchor, text) => svg('text', { class: 'tick', x, y, 'text-anchor': anchor }, text);
