// A picture that does not stand where the page looks for it, as in an archive of the report alone, is
// shown by its thumbnail.

const standIns = new Map(); // address of a picture => its thumbnail; filled when the first one is missing

function findStandIns() {
  const address = (path) => new URL(path, document.baseURI).href;
  for (let cell = 0; cell < count; cell += 1) {
    if (thumbPath(cell)) standIns.set(address(picturePath(cell)), thumbPath(cell));
  }
  for (const pictures of Object.values(run.sources)) {
    for (const { files, thumb } of Object.values(pictures)) {
      if (thumb) files.forEach((file) => standIns.set(address(link(file)), thumbLink(thumb)));
    }
  }
}

// Errors of pictures do not bubble, but they are captured.
document.addEventListener('error', ({ target }) => {
  if (!(target instanceof HTMLImageElement)) return;
  if (!standIns.size) findStandIns();
  const standIn = standIns.get(target.src);
  if (!standIn) return;
  target.src = standIn;
  target.title = 'The picture itself does not stand beside this page; this is its thumbnail.';
}, { capture: true });
