// Where the pictures come from, what deserves a warning, and what else the run left behind.

function renderAbout() {
  const { facts, warnings } = run.about;
  document.getElementById('about').replaceChildren(
    ...warnings.map((line) => el('p', { class: 'note' }, line)),
    el('dl', { class: 'about' }, facts.map(([name, lines]) => el('div', {},
      el('dt', {}, name), lines.map((line) => el('dd', {}, ...breakable(line)))))),
    section('Files of the run', fileList()),
    section('Settings of all cells', factList(Object.entries(run.settings.same))),
    section('Configuration', el('pre', { tabindex: 0 }, run.config || 'It was not kept.')),
    section('Libraries', run.libraries.map(({ name, version, license, text }) => folded(`${name} ${version}, ${license}`, el('pre', { tabindex: 0 }, text)))),
  );
}

function fileList() {
  if (!run.files.length) return el('p', { class: 'empty' }, 'None were found.');
  const start = `${run.root}/`;
  const entry = (file) => el('li', {}, el('a', { href: link(file) }, ...breakable(file.slice(start.length))));
  return el('ul', { class: 'files' }, run.files.map(entry));
}
