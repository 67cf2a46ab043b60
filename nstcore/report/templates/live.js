// The page of a run that is under way: it asks for news every few seconds, and loads itself anew when there is a
// newer page.  The address keeps what is shown; where it is scrolled to and the like is kept here.

const live = {
  line: document.getElementById('live'),
  running: new Map(), // cell => iteration, iterations, content loss, style loss, last snapshot
  news: null,
  heard: 0, // when the last news came
  touched: 0, // when the reader last did something
  pressed: false,
};

const LIVE_KEY = `nst-live:${window.location.pathname}`;
const LIVE_PAUSE_MS = 2000; // nothing is loaded anew under the hands of a reader
const LIVE_SILENT_MS = 30000;

// What is known of a cell that is not made yet.
function progressOf(cell) {
  const doing = live.running.get(cell);
  if (!doing) return ['not made yet'];
  const [iteration, iterations, content, style, snapshot] = doing;
  const losses = content === null ? '' : `content ${numberText(content)}, style ${numberText(style)}`;
  const far = `iteration ${iteration} of ${iterations}`;
  const bar = el('progress', { max: iterations || 1, value: iteration });
  if (snapshot) return [el('img', { src: link(snapshot), alt: 'how it looks so far', title: [far, losses].filter(Boolean).join('; ') }), bar];
  return [el('b', {}, 'being made'), bar, far, el('br'), losses];
}

// Called by state.js.
window.nstLive = (news) => {
  if (!live.news || news.time !== live.news.time) live.heard = Date.now();
  const before = live.running;
  live.news = news;
  live.running = new Map(news.running.map(([cell, ...doing]) => [cell, doing]));
  for (const cell of new Set([...before.keys(), ...live.running.keys()])) {
    for (const place of document.querySelectorAll(`[data-pending="${cell}"]`)) place.replaceChildren(...present(progressOf(cell)));
  }
  loadNewer();
};

function tellLive() {
  const { news } = live;
  if (!news) return;
  const time = new Date(news.time * 1000).toLocaleTimeString();
  const parts = [`${news.done} of ${count} made`, live.running.size ? `${live.running.size} being made` : null];
  if (news.stopped) parts.push(`the run has stopped; this is how it was at ${time}`);
  else if (Date.now() - live.heard > LIVE_SILENT_MS) parts.push(`no news since ${time}: nobody watches this run any more`);
  else parts.push(`as of ${time}; this page renews itself`);
  live.line.hidden = false;
  live.line.textContent = parts.filter(Boolean).join(' · ');
}

function askForNews() {
  if (document.hidden) return;
  const script = el('script', { src: `state.js?${Date.now()}`, on: {
    load: () => { script.remove(); tellLive(); },
    error: () => { script.remove(); tellLive(); },
  } });
  document.head.append(script);
}

function loadNewer() {
  const { page, report } = live.news;
  if (!report && (page === run.live.page || page === 0)) return;
  if (document.hidden || live.pressed || Date.now() - live.touched < LIVE_PAUSE_MS) return;
  saveState();
  saveLive();
  if (report) window.location.replace(report + window.location.hash);
  else window.location.reload();
}

const scrolled = () => [...document.querySelectorAll('.scroller, .facts')];

function saveLive() {
  const held = document.activeElement;
  const kept = {
    window: [window.scrollX, window.scrollY],
    scrolled: scrolled().map(({ scrollLeft, scrollTop }) => [scrollLeft, scrollTop]),
    setup: document.getElementById('setup').open,
    focus: held && held.closest('#matrix-scroller') ? Number(held.dataset.cell) : null,
    filter: held === filterInput,
    zoom: [viewer.zoom, viewer.x, viewer.y],
  };
  try {
    window.sessionStorage.setItem(LIVE_KEY, JSON.stringify(kept));
  } catch {
    // The page then begins at its top.
  }
}

function restoreLive() {
  let kept = null;
  try {
    kept = JSON.parse(window.sessionStorage.getItem(LIVE_KEY));
    window.sessionStorage.removeItem(LIVE_KEY);
  } catch {
    return;
  }
  if (!kept) return;
  document.getElementById('setup').open = kept.setup;
  scrolled().forEach((element, n) => {
    const [left, top] = kept.scrolled[n];
    const short = () => element.scrollHeight < top + element.clientHeight;
    while (element === matrix.scroller && matrix.body && matrix.filled < matrix.rows.length && short()) fillRows(piece());
    while (element === table.scroller && table.body && table.filled < table.order.length && short()) fillTable();
    element.scrollTo(left, top);
  });
  if (kept.focus !== null && !detail.dialog.open) focusCell(kept.focus);
  if (kept.filter) filterInput.focus();
  window.scrollTo(...kept.window);
  [viewer.zoom, viewer.x, viewer.y] = kept.zoom;
  placeBoxes();
}

function startLive() {
  restoreLive();
  for (const event of ['keydown', 'wheel', 'input', 'pointermove']) {
    document.addEventListener(event, () => { live.touched = Date.now(); }, { capture: true, passive: true });
  }
  document.addEventListener('pointerdown', () => { live.pressed = true; }, { capture: true });
  for (const event of ['pointerup', 'pointercancel']) {
    document.addEventListener(event, () => { live.pressed = false; live.touched = Date.now(); }, { capture: true });
  }
  document.addEventListener('visibilitychange', askForNews);
  window.setInterval(askForNews, run.live.seconds * 1000);
  askForNews();
}
