// What the pages do beyond htmx: draw charts, show token values, count characters, copy links, and
// say when a request failed.

document.documentElement.classList.add("js");

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

// A request that failed says so at the top of the window, whatever it was for. What asks by itself
// stays quiet: it asks again with the next event.
const notice = document.querySelector("#notice");

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  const { elt, xhr } = detail;
  if (xhr.status === 0 || elt.matches("[data-follow]") || elt.closest("#draft")) return;
  const answer = new DOMParser().parseFromString(xhr.responseText ?? "", "text/html");
  const why = answer.querySelector("#error-detail")?.textContent;
  if (xhr.status >= 500) notice.textContent = why ?? "The server failed. Try again.";
  else if (xhr.status >= 400) notice.textContent = why ?? "";
  else if (detail.requestConfig.verb !== "get") notice.textContent = "";
});

// What is done next is another matter.
document.addEventListener("click", () => (notice.textContent = ""), true);

for (const lost of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(lost, ({ detail }) => {
    if (detail.elt.matches("[data-follow]") || detail.elt.closest("#draft")) return;
    const { verb, triggeringEvent } = detail.requestConfig;
    const saves = verb !== "get";
    if (!saves && !triggeringEvent?.isTrusted) return; // nobody asked for it: it asks again by itself
    notice.textContent = `The server does not answer. ${saves ? "Nothing was saved" : "The page is as it was"}; try again.`;
  });
}

// The address of the page as it is now. Browsers copy only over HTTPS or on this machine; elsewhere the
// button shows the address, ready to be copied.
document.addEventListener("click", async ({ target }) => {
  if (!target.matches?.("[data-copy-link]")) return;
  try {
    await navigator.clipboard.writeText(location.href);
    target.textContent = "Copied";
    setTimeout(() => (target.textContent = "Copy link"), 2000);
  } catch {
    const field = Object.assign(document.createElement("input"), { value: location.href, readOnly: true });
    field.setAttribute("aria-label", "Address of this page");
    target.replaceWith(field);
    field.select();
  }
});
