// What the pages do beyond htmx: draw charts, leave unchanged parts alone, show token values,
// count characters, and say when a request failed.

const dark = matchMedia("(prefers-color-scheme: dark)");

function draw(root) {
  for (const figure of root.querySelectorAll("[data-chart]")) {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    vegaEmbed(figure.querySelector(".drawing"), spec, {
      ast: true, // expressions are interpreted, so the content security policy needs no eval
      renderer: "svg",
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: figure.id,
      defaultStyle: " ", // a menu, but in our own style
      tooltip: { theme: dark.matches ? "dark" : "light" },
    }).then(() => {
      // The library draws its menu's button as dots, without a name.
      figure.querySelector("summary")?.setAttribute("aria-label", "Save this chart");
    });
  }
}

document.addEventListener("htmx:load", (event) => draw(event.detail.elt));

// A live part comes again with every event. One that is the same as before is not swapped, so that
// charts do not flicker and open details stay open.
const seen = new Map();

function text(element) {
  // Times such as "2 minutes ago" alone are no reason to swap.
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

for (const part of document.querySelectorAll("#main [id]")) remember(part.id, part);

document.addEventListener("htmx:oobBeforeSwap", (event) => {
  const { target, fragment } = event.detail;
  const part = fragment.firstElementChild;
  if (!part) return;
  if (remember(target.id, part)) event.detail.shouldSwap = false;
  for (const open of target.querySelectorAll("details[open][id]")) {
    part.querySelector(`#${open.id}`)?.setAttribute("open", "");
  }
});

// The value of a token: by pointer, by touch, without waiting for the browser's own tooltip.
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "tooltip");
tip.hidden = true;
document.body.append(tip);

document.addEventListener("pointerover", (event) => {
  const token = event.target.closest?.(".t");
  tip.hidden = !token;
  if (!token) return;
  if (token.title) {
    token.dataset.tip = token.title;
    token.removeAttribute("title");
  }
  tip.textContent = token.dataset.tip;
  const box = token.getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, left) + scrollX}px`;
  tip.style.top = `${(below ? box.bottom + 6 : box.top - tip.offsetHeight - 6) + scrollY}px`;
});

document.addEventListener("input", ({ target }) => {
  if (target.dataset.count) {
    document.querySelector(target.dataset.count).textContent = [...target.value].length;
  }
});

// A refused request that brought no part of this page says why, at the top.
document.addEventListener("htmx:afterRequest", (event) => {
  const { xhr, requestConfig } = event.detail;
  if (requestConfig.verb === "get" || requestConfig.elt.closest("#draft")) return;
  const notice = document.querySelector("#notice");
  const answer = new DOMParser().parseFromString(xhr.responseText ?? "", "text/html");
  const detail = answer.querySelector("#error-detail")?.textContent;
  if (xhr.status === 0) notice.textContent = "The server does not answer. Nothing was saved; try again.";
  else notice.textContent = xhr.status >= 400 ? (detail ?? "") : "";
});

// A part that cannot be fetched: the page stays as it is, and says so.
const AWAY = "The server does not answer, so this part of the page stays as it is. Try again.";

document.addEventListener("htmx:sendError", ({ detail }) => {
  const { verb, triggeringEvent } = detail.requestConfig;
  // What nobody asked for, such as news, comes again by itself.
  if (verb === "get" && triggeringEvent?.isTrusted) document.querySelector("#notice").textContent = AWAY;
});

document.addEventListener("htmx:afterOnLoad", () => {
  const notice = document.querySelector("#notice");
  if (notice.textContent === AWAY) notice.textContent = "";
});
