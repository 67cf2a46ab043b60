// How a cell's picture came about: its snapshots, and the picture at the end, under a slider.

const film = { timer: null };
const FRAME_MS = 120;

const snapshotsOf = (cell) => run.snapshots[cell] || null;

// Snapshots as paths and what is said of them; the finished picture comes last.
function framesOf(cell) {
  const folder = `${run.root}/snapshots/${run.cells.image[cell].replace(/\.[^./]+$/, '')}`;
  const end = `-${run.cells.key[cell].slice(0, 8)}.webp`;
  const frames = snapshotsOf(cell).map((iteration) => [
    link(`${folder}/${String(iteration).padStart(6, '0')}${end}`), iteration ? `after iteration ${iteration}` : 'the start',
  ]);
  return run.cells.thumb[cell] ? [...frames, [viewPath(cell), 'finished']] : frames;
}

function stopFilm() {
  window.clearInterval(film.timer);
  film.timer = null;
}

function filmTools(cell) {
  stopFilm();
  if (!snapshotsOf(cell)) return null;
  const frames = framesOf(cell);
  const last = frames.length - 1;
  const words = el('output', {}, frames[last][1]);
  const slider = el('input', { type: 'range', min: 0, max: last, value: last, 'data-key': 'film', 'aria-label': 'How it came about', on: {
    input: () => { playing(false); showFrame(); },
    pointerdown: () => load(),
  } });
  const button = el('button', { type: 'button', class: 'plain', 'data-key': 'play', on: { click: () => playing(film.timer === null) } }, 'Play');
  let loaded = null; // all pictures, so that none has to be waited for

  function load() {
    loaded = loaded || frames.map(([path]) => Object.assign(new Image(), { src: path }));
  }

  function showFrame() {
    const [path, text] = frames[slider.valueAsNumber];
    const image = viewer.stage.querySelector('.box img');
    if (image) image.src = path;
    words.textContent = text;
    slider.setAttribute('aria-valuetext', text);
  }

  function playing(on) {
    stopFilm();
    button.textContent = on ? 'Stop' : 'Play';
    if (!on) return;
    load();
    if (slider.valueAsNumber === last) slider.value = 0;
    showFrame();
    film.timer = window.setInterval(() => {
      slider.value = slider.valueAsNumber + 1;
      showFrame();
      if (slider.valueAsNumber === last) playing(false);
    }, FRAME_MS);
  }

  return el('div', { class: 'film', role: 'group', 'aria-label': 'How it came about' }, button, slider, words);
}
