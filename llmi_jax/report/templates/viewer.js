
// The viewer: links and filters change parts of the page and its address; new rollouts come by themselves.
const PARTS = ['list', 'detail'];
let latest = 0;

async function show(address, {push = true, parts = PARTS, top = true} = {}) {
  const turn = ++latest;
  const reply = await fetch(address, {headers: {Accept: 'text/html'}});
  const page = new DOMParser().parseFromString(await reply.text(), 'text/html');
  if (turn !== latest) return;  // something later was asked for meanwhile
  if (!page.getElementById('list')) {
    location.assign(address);
    return;
  }
  const focused = document.activeElement?.id;
  for (const id of parts.filter((name) => page.getElementById(name))) document.getElementById(id).replaceWith(document.adoptNode(page.getElementById(id)));
  const [old, now] = [document, page].map((one) => one.querySelector('.viewer'));
  if (old && now) {
    old.className = now.className;
    for (const name of ['version', 'live']) {
      if (name in now.dataset) old.dataset[name] = now.dataset[name];
      else delete old.dataset[name];
    }
  }
  document.title = page.title;
  if (push) history.pushState(null, '', address);
  if (focused) document.getElementById(focused)?.focus({preventScroll: true});
  if (top && parts.includes('detail')) document.getElementById('detail')?.scrollTo(0, 0);
}

const opened = (address) => new URL(address, location.href).searchParams.get('open');

function filtered(form) {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value.trim()) fields.append(name, value.trim());
  for (const name of ['open', 'of']) {
    const value = new URL(location.href).searchParams.get(name);
    if (value) fields.set(name, value);
  }
  const told = fields.toString();
  return form.getAttribute('action') + (told ? `?${told}` : '');
}

// Brings the fields of a form to the state of an address.
function fill(form) {
  const fields = new URL(location.href).searchParams;
  const seen = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    const at = seen[field.name] = (seen[field.name] ?? -1) + 1;
    const values = fields.getAll(field.name);
    if (form.getAttribute('action') === '/') field.value = values[at] ?? '';
  }
}

function follow(event) {
  const link = event.target.closest('a[data-go]');
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  show(link.href).then(() => {
    const form = document.getElementById('filter');
    if (form) fill(form);
    const whole = document.querySelector('.viewer');
    if (whole && opened(link.href) && matchMedia('(max-width: 62rem)').matches) scrollTo(0, 0);
    if (!whole) document.querySelector('.aligned a[aria-current]')?.scrollIntoView({block: 'start', behavior: 'instant'});
  });
}

function watch(form) {
  let timer = 0;
  const change = (wait) => {
    clearTimeout(timer);
    timer = setTimeout(() => show(filtered(form), {parts: ['list']}), wait);
  };
  form.addEventListener('input', (event) => change(event.target.tagName === 'INPUT' ? 120 : 0));
  form.addEventListener('submit', (event) => { event.preventDefault(); change(0); });
}

async function look() {
  const viewer = document.querySelector('.viewer[data-live]');
  if (!viewer || document.hidden) return;
  const state = await (await fetch('/state')).json();
  if (String(state.version) !== viewer.dataset.version) {
    await show(location.href, {push: false, parts: ['list'], top: false});
  }
}

document.addEventListener('DOMContentLoaded', () => {
  document.addEventListener('click', follow);
  const form = document.getElementById('filter');
  if (form) {
    form.querySelector('[data-plain]').hidden = true;
    watch(form);
  }
  addEventListener('popstate', () => show(location.href, {push: false}).then(() => form && fill(form)));
  setInterval(() => look().catch(() => {}), 3000);  // a viewer that ended is no error of the page
  document.querySelector('.rows [aria-current]')?.scrollIntoView({block: 'center'});
});
