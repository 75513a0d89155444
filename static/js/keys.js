// Keys, and the hint of the first visit. A part of a page that a key belongs to says so itself,
// with data-key; links of the head and links with rel=next and rel=prev are known.

const keys = document.querySelector("#keys");
const guide = document.querySelector("#guide");
const SEEN = "palimpsest.guide";

// Where storage is not allowed, the hint is shown again; nothing else depends on it.
function remembered() {
  try {
    return localStorage.getItem(SEEN);
  } catch {
    return null;
  }
}

function rememberGuide(value) {
  try {
    localStorage.setItem(SEEN, value);
  } catch {}
}

const tab = (name) => () => document.querySelector(`.site nav a[href$="/${name}"]`);
const first = (...selectors) => () => {
  for (const selector of selectors) {
    for (const found of document.querySelectorAll(selector)) {
      if (found.checkVisibility() && !found.disabled) return found;
    }
  }
};

const TARGETS = {
  j: first('[data-key="j"]', 'a[rel="next"]'),
  k: first('[data-key="k"]', 'a[rel="prev"]'),
  e: first('[data-key="e"]', "#text"),
  s: first('[data-key="s"]', ".works button", ".work button"),
};
const GO = {
  o: () => document.querySelector(".site nav a"),
  l: tab("latents"),
  t: tab("try"),
  j: tab("jobs"),
};

function act(element) {
  if (!element) return;
  if (element.matches("input:not([type=submit]), textarea, select")) {
    element.focus();
    element.select?.();
  } else element.click();
}

function search() {
  const field = first('[data-key="/"]', 'main input[type="search"]', "main #q")();
  if (field) return act(field);
  const list = tab("latents")();
  if (list) location.href = `${list.href}#q`;
}

let go = -Infinity; // when `g` was pressed

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.isComposing || event.repeat) return;
  const typing = event.target.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const after = performance.now() - go < 1500 ? GO[event.key]?.() : null;
  go = event.key === "g" ? performance.now() : -Infinity;
  if (after) after.click();
  else if (event.key === "?") keys.showModal();
  else if (event.key === "/") search();
  else if (TARGETS[event.key]) act(TARGETS[event.key]());
  else return;
  event.preventDefault();
});

for (const button of document.querySelectorAll("[data-show-keys]")) {
  button.hidden = false;
  button.addEventListener("click", () => keys.showModal());
}

keys.addEventListener("close", () => {
  if (keys.returnValue !== "guide") return;
  rememberGuide("again");
  if (guide) showGuide();
  else location.href = document.querySelector(".site nav a").href; // the overview has it
  keys.returnValue = "";
});

function showGuide() {
  guide.hidden = false;
  guide.scrollIntoView({ block: "nearest" });
}

if (guide) {
  if (remembered() !== "dismissed") showGuide();
  document.querySelector("#dismiss-guide").addEventListener("click", () => {
    rememberGuide("dismissed");
    guide.hidden = true;
  });
}

// The list of latents was opened by `/`: go on in its search field.
if (location.hash === "#q") first("main #q", 'main input[type="search"]')()?.focus();
