// Two pictures on top of each other, and a line between them that is dragged or moved by arrow keys.

function wipe(left, right, ratio) {
  const figure = el('div', { class: 'wipe', style: { '--at': '50%', '--ratio': ratio } });
  const range = el('input', {
    type: 'range',
    min: 0,
    max: 100,
    step: 1,
    value: 50,
    'aria-label': `Left of the line ${left.name}, right of it ${right.name}`,
    on: {
      input: () => {
        figure.style.setProperty('--at', `${range.value}%`);
        range.setAttribute('aria-valuetext', `${range.value} % ${left.name}`);
      },
    },
  });
  figure.append(
    el('img', { src: right.src, alt: right.alt, loading: 'lazy' }),
    el('img', { class: 'over', src: left.src, alt: left.alt, loading: 'lazy' }),
    el('i', { class: 'line', 'aria-hidden': 'true' }),
    el('span', { class: 'side' }, left.name),
    el('span', { class: 'side other' }, right.name),
    range,
  );
  return figure;
}
