// A live part of a page comes again with every event. It is morphed into the page: only what differs
// changes. Ticks, scroll, focus, opened parts, charts and half-typed text stay.

const seen = new Map();

function text(element) {
  // Times such as "2 minutes ago" alone are no reason to change anything.
  const copy = element.cloneNode(true);
  for (const time of copy.querySelectorAll("time")) time.textContent = "";
  return copy.innerHTML;
}

function remember(id, element) {
  const now = text(element);
  const same = seen.get(id) === now;
  seen.set(id, now);
  return same;
}

const asking = [...document.querySelectorAll("[hx-select-oob]")];
const parts = new Set(asking.flatMap((one) => one.getAttribute("hx-select-oob").split(",")));
for (const name of parts) {
  const part = document.querySelector(name.split(":")[0].trim());  // how it is swapped may follow
  if (part) remember(part.id, part);
}

// Somebody has typed, ticked or chosen here since the page came.
function isTouched(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.matches("select")) {
    const marked = [...field.options].some((option) => option.defaultSelected);
    return [...field.options].some((option, at) => option.selected !== (marked ? option.defaultSelected : at === 0));
  }
  return field.value !== field.defaultValue;
}

function copyAttributes(from, to) {
  for (const name of ["class", "aria-invalid", "aria-describedby"]) {
    if (from.hasAttribute(name)) to.setAttribute(name, from.getAttribute(name));
    else to.removeAttribute(name);
  }
}

// The library asks before each change. False leaves the old element as it is.
function beforeNodeMorphed(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) return true;
  if (old.matches("input, textarea, select") && isTouched(old)) {
    copyAttributes(fresh, old);
    return false;
  }
  if (old.matches("[data-chart]") && fresh.matches("[data-chart]")) {
    const [was, is] = [old, fresh].map((figure) => figure.querySelector("script"));
    if (was.textContent !== is.textContent) {
      was.textContent = is.textContent;
      draw(old.parentElement);
    }
    return false;
  }
  // What was fetched into a folded part is renewed by itself, below.
  return !old.matches("[data-fetched] *");
}

function beforeAttributeUpdated(name, element) {
  return !(["open", "data-fetched"].includes(name) && element.matches("details, dialog"));
}

function morph(old, fresh) {
  const added = [];
  Idiomorph.morph(old, fresh, {
    morphStyle: "outerHTML",
    callbacks: {
      beforeNodeMorphed,
      beforeAttributeUpdated,
      afterNodeAdded: (node) => node.nodeType === Node.ELEMENT_NODE && added.push(node),
    },
  });
  const now = document.getElementById(old.id) ?? old;
  htmx.process(now);
  for (const element of added) if (element.isConnected) draw(element.parentElement);
}

document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  const fresh = detail.fragment.firstElementChild;
  if (!fresh) return;
  detail.shouldSwap = false;
  if (remember(detail.target.id, fresh)) return;
  const { id } = detail.target;
  morph(detail.target, fresh);
  for (const folded of document.querySelectorAll("details[data-fetched][data-follows]")) {
    if (folded.dataset.follows.split(" ").includes(id)) renew(folded);
  }
});

// What somebody asks for takes the place of a whole part; what is open in it stays open.
let opened = [];
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  opened = [...detail.target.querySelectorAll("details[open][id]")].map((one) => one.id);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  opened = [];
});

// A folded part that was fetched is about figures that have changed.
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.successful && detail.elt.matches("details")) detail.elt.dataset.fetched = "";
});

async function renew(folded) {
  const [url, select] = ["hx-get", "hx-select"].map((name) => folded.getAttribute(name));
  const answer = await fetch(url).catch(() => null);
  if (!answer?.ok) return; // what is there stays, until the next event
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [old, fresh] = [folded, page].map((root) => root.querySelector(select));
  if (!old || !fresh) return;
  delete folded.dataset.fetched; // so that it may be changed
  morph(old, document.importNode(fresh, true));
  folded.dataset.fetched = "";
}
