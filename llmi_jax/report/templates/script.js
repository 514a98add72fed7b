'use strict';
// Everything is readable without this: it adds a theme, keys, a search and a readout to charts.
const THEME = 'llmi_jax theme';
const remembered = () => {
  try { return localStorage.getItem(THEME); } catch { return null; }  // a file may have no storage
};
const wear = (theme) => {
  if (theme) document.documentElement.dataset.theme = theme;
};
wear(remembered());

function toggleTheme() {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const now = document.documentElement.dataset.theme || (dark ? 'dark' : 'light');
  const next = now === 'dark' ? 'light' : 'dark';
  wear(next);
  try { localStorage.setItem(THEME, next); } catch { /* it lasts as long as the page */ }
}

function readout(figure) {
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

// Moves to the next or previous of the elements that carry an attribute; links are followed.
function go(attribute, by) {
  const all = [...document.querySelectorAll(`[${attribute}]`)].filter((e) => e.checkVisibility());
  const here = document.activeElement?.closest(`[${attribute}]`);
  let at = all.indexOf(here);
  if (at < 0) at = all.findIndex((e) => e.getAttribute('aria-current'));
  if (at < 0 && by < 0) return;
  const next = all[Math.max(at + by, 0)];
  if (!next) return;
  next.focus({preventScroll: true});
  next.scrollIntoView({block: next.tagName === 'A' ? 'nearest' : 'start'});
  if (next.tagName === 'A') next.click();
}

const typing = (element) => element.matches('input, select, textarea');
const KEYS = {
  j: () => go('data-j', 1),
  k: () => go('data-j', -1),
  n: () => go('data-n', 1),
  p: () => go('data-n', -1),
  t: toggleTheme,
  '/': () => document.querySelector('input[type=search]')?.focus(),
  '?': () => document.getElementById('keys')?.showModal(),
};

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing(event.target)) {
    if (event.key === 'Escape') {
      event.preventDefault();  // or the field would be emptied
      event.target.blur();
    }
    return;
  }
  if (document.querySelector('dialog[open]') || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});

// Shows only the documents of a report that have the words.
function searchReport(field) {
  const cards = [...document.querySelectorAll('article.rollout')];
  const texts = new Map();
  field.addEventListener('input', () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const card of cards) {
      if (words.length && !texts.has(card)) texts.set(card, card.textContent.toLowerCase());
      card.hidden = !words.every((word) => texts.get(card).includes(word));
      found += !card.hidden;
    }
    for (const group of document.querySelectorAll('section.pair-of')) {
      group.hidden = !group.querySelector('article.rollout:not([hidden])');
    }
    document.getElementById('found').textContent = words.length ? `${found} of ${cards.length} documents` : '';
  });
}

document.addEventListener('DOMContentLoaded', () => {
  document.querySelectorAll('figure.plot').forEach(readout);
  document.querySelectorAll('[data-script]').forEach((e) => { e.hidden = false; });
  document.getElementById('theme')?.addEventListener('click', toggleTheme);
  document.getElementById('help')?.addEventListener('click', KEYS['?']);
  document.getElementById('close')?.addEventListener('click', () => document.getElementById('keys').close());
  const field = document.querySelector('input[data-report]');
  if (field) searchReport(field);
});
