'use strict';
// Everything is readable without this: it adds a readout to charts and keys to documents.
for (const figure of document.querySelectorAll('figure.plot')) {
  const svg = figure.querySelector('svg');
  const rows = [...figure.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((c) => c.textContent));
  const values = [...figure.querySelectorAll('.legend b')];
  const last = values.map((v) => v.textContent);
  const steps = rows.map((row) => Number(row[0].replaceAll(',', '')));
  const [left, right] = [46, 450];
  const guide = document.createElementNS('http://www.w3.org/2000/svg', 'line');
  guide.setAttribute('class', 'guide');
  for (const [name, value] of [['y1', 26], ['y2', 194], ['visibility', 'hidden']]) guide.setAttribute(name, value);
  svg.append(guide);
  const title = figure.querySelector('h3');
  const name = title.textContent;
  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 460;
    const span = steps[steps.length - 1] - steps[0];
    const wanted = steps[0] + ((x - left) / (right - left)) * span;
    const near = steps.reduce((best, s, i) => (Math.abs(s - wanted) < Math.abs(steps[best] - wanted) ? i : best), 0);
    const at = span ? left + ((steps[near] - steps[0]) / span) * (right - left) : (left + right) / 2;
    guide.setAttribute('x1', at);
    guide.setAttribute('x2', at);
    guide.setAttribute('visibility', 'visible');
    title.textContent = `${name}, step ${rows[near][0]}`;
    values.forEach((v, i) => { v.textContent = rows[near][i + 1]; });
  });
  svg.addEventListener('pointerleave', () => {
    guide.setAttribute('visibility', 'hidden');
    title.textContent = name;
    values.forEach((v, i) => { v.textContent = last[i]; });
  });
}
const documents = [...document.querySelectorAll('article.rollout')];
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !'jk'.includes(event.key)) return;
  const here = documents.indexOf(document.activeElement);
  const next = documents[event.key === 'j' ? here + 1 : Math.max(here - 1, 0)];
  if (next) {
    next.focus({preventScroll: true});
    next.scrollIntoView({block: 'start'});
  }
});
