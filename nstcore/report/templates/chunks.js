// What is loaded from the disk when it is looked at: a few cells' curves or records at a time.

const chunks = new Map();

// Called by the files in curves/ and records/.
window.nstChunk = (kind, number, entries) => {
  const chunk = chunks.get(`${kind}/${number}`);
  if (chunk) chunk.resolve(entries);
};

// One cell's curves or record, null where there is none.
function chunkOf(kind, cell) {
  const size = run[kind].perFile;
  const number = Math.floor(cell / size);
  const name = `${kind}/${number}`;
  if (!chunks.has(name)) {
    const chunk = {};
    chunk.entries = new Promise((resolve) => {
      chunk.resolve = resolve;
      if (run.inline) resolve(run.inline[kind][number]);
      else document.head.append(el('script', { src: `${name}.js`, on: { error: () => resolve([]) } }));
    });
    chunks.set(name, chunk);
  }
  return chunks.get(name).entries.then((entries) => entries[cell % size] || null);
}
