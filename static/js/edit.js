// The edit box of a latent: keys, unsaved text, what somebody else saved meanwhile, the preview, and
// examples to think of. What a person typed is never thrown away but by their own choice.

document.documentElement.classList.add("js");

const form = document.querySelector("#edit[data-latent]");
const box = form?.querySelector("#text");
const about = (form ?? document.querySelector("[data-latent]"))?.dataset.latent;

const parent = () => form.querySelector("[name=parent_id]");
const one = (text) => text.trim().split(/\s+/).join(" ");

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function quiet(label, act) {
  const button = make("button", { type: "button", className: "quiet", textContent: label });
  button.addEventListener("click", act);
  return button;
}

// A list in the browser's own store. Without one (it may be switched off or full), nothing survives
// a reload, and everything else works.
function stored(name) {
  const key = `palimpsest:${name}:${about}`;
  return {
    key,
    read() {
      try {
        const list = JSON.parse(localStorage.getItem(key) ?? "[]");
        return Array.isArray(list) ? list : [];
      } catch {
        return [];
      }
    },
    write(list) {
      try {
        if (list.length) localStorage.setItem(key, JSON.stringify(list));
        else localStorage.removeItem(key);
      } catch {
        // Not kept.
      }
    },
  };
}

// Unsaved texts: one for each stretch of writing. The box is always writing `mine`; the others are
// offered.
const unsaved = stored("unsaved");
const newId = () => `${Date.now()}-${Math.random().toString(36).slice(2)}`;
let mine = newId();
let asLoaded = box?.value;

function keep() {
  const rest = unsaved.read().filter((text) => text.id !== mine);
  const changed = one(box.value) !== one(asLoaded) && one(box.value) !== "";
  unsaved.write(
    changed ? [...rest, { id: mine, text: box.value, parent: parent().value, at: Date.now() }] : rest,
  );
}

function forget(id) {
  unsaved.write(unsaved.read().filter((text) => text.id !== id));
}

function show(text) {
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

function offer() {
  const place = form.querySelector("#unsaved");
  const texts = unsaved.read().filter((text) => text.id !== mine && one(text.text) !== one(box.value));
  place.hidden = texts.length === 0;
  place.replaceChildren(
    ...texts.map((text) => {
      const when = new Date(text.at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      const restore = quiet("Restore the unsaved text", () => {
        // What is in the box stays as an offer of its own.
        mine = text.id;
        parent().value = text.parent;
        show(text.text);
        offer();
        box.focus();
        htmx.trigger("#others", "check");
      });
      const discard = quiet("Discard", () => {
        forget(text.id);
        offer();
        box.focus();
      });
      return make(
        "div",
        { className: "offer" },
        make("p", { textContent: `You wrote this on ${when} and did not save it:` }),
        make("blockquote", { textContent: text.text }),
        make("p", { className: "choices" }, restore, discard),
      );
    }),
  );
}

function begin() {
  // Text that the server sent back, as it refused it, is still being written.
  const same = unsaved.read().find((text) => one(text.text) === one(box.value));
  if (same && form.querySelector("#edit-feedback .error")) {
    mine = same.id;
    asLoaded = "";
  } else if (same) forget(same.id);
  offer();

  box.addEventListener("input", keep);
  addEventListener("storage", (event) => event.key === unsaved.key && offer());

  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!form.querySelector(".save").disabled) form.requestSubmit(form.querySelector(".save"));
    } else if (event.key === "Escape") {
      box.blur();
    }
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, xhr, requestConfig } = event.detail;
    if (elt !== form || xhr.status !== 200 || !xhr.responseURL.includes("saved=")) return;
    // Writing may have gone on while this was saved: then it is kept.
    const saved = requestConfig.parameters.text;
    asLoaded = saved;
    if (box.value === saved) {
      forget(mine);
      mine = newId();
    } else keep();
    form.querySelector("#others").replaceChildren();
    htmx.trigger("#others", "check");
  });

  // What was asked before the version that is written from changed, or before one's own was saved,
  // says nothing any more.
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (detail.target.id !== "others") return;
    const asked = detail.requestConfig.parameters.parent_id;
    if (asked !== parent().value || form.classList.contains("htmx-request")) {
      detail.shouldSwap = false;
    }
  });

  // Somebody else saved: both texts stay within reach, whatever is chosen.
  form.addEventListener("click", ({ target }) => {
    if (target.dataset.keep) parent().value = target.dataset.keep;
    else if (target.dataset.take) {
      keep();
      mine = newId();
      parent().value = target.dataset.take;
      asLoaded = target.dataset.text;
      show(asLoaded);
      offer();
    } else return;
    form.querySelector("#others").replaceChildren();
    keep();
    box.focus();
  });
}

// A panel below the box follows the text, while it is open. Its id is the name of its event.
function follow(panel, delay) {
  let waiting;
  const ask = () => panel.open && htmx.trigger(panel, panel.id);
  panel.addEventListener("toggle", ask);
  box.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, delay);
  });
  return ask;
}

function followPreview() {
  const reads = form.querySelector("#reads");
  follow(reads, 350);
  // The explanation stands at the end of a long prompt: it is brought into sight.
  document.addEventListener("htmx:afterSettle", () => {
    const mark = reads.querySelector("mark");
    if (mark) mark.closest("pre").scrollTop = mark.offsetTop - 40;
  });
}

// Which words do the work comes bit by bit: the page asks until all is measured.
function followInfluence() {
  const panel = form.querySelector("#influence");
  if (!panel) return;
  const ask = follow(panel, 800);
  panel.addEventListener("htmx:afterSettle", () => panel.querySelector("[data-more]") && ask());
  // A suggestion is taken over by hand only, and the text that it replaces is kept.
  panel.addEventListener("click", ({ target }) => {
    if (!target.dataset.text) return;
    keep();
    mine = newId();
    show(target.dataset.text);
    offer();
    box.focus();
  });
}

// What the text would change is asked for while it is typed. The server answers the newest request of
// this tab; one that is older is dropped.
const tab = newId();
let number = 0;

document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.elt.closest("#draft, #influence")) Object.assign(detail.parameters, { tab, number: ++number });
});

function moveWithText() {
  const draft = form.querySelector("#draft");
  if (!draft) return;
  const ours = (event) => draft.contains(event.detail.requestConfig?.elt ?? event.detail.elt);
  const changed = () => one(box.value) !== one(asLoaded);
  const follows = draft.hasAttribute("hx-post");

  // Others' news and other tabs of the examples come without the draft's lane.
  document.addEventListener("htmx:afterSettle", (event) => {
    if (!follows || ours(event)) return;
    const examples = document.querySelector("#examples");
    if (draft.querySelector("table") && changed() && !("draft" in examples.dataset)) htmx.trigger(draft, "draft");
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt === form && event.detail.successful && follows) htmx.trigger(draft, "draft");
  });

  document.addEventListener("htmx:sendError", (event) => {
    if (!ours(event)) return;
    const away = "The server does not answer, so nothing moves. This browser keeps your text; go on typing to try again.";
    draft.querySelector("#draft-said").textContent = away;
    draft.querySelector(".draft-part").replaceChildren(make("p", { className: "empty-line", textContent: away }));
  });
}

// Examples to think of while rewording, kept until they are taken away.
const notes = stored("notes");

function showNotes() {
  const place = form?.querySelector("#notes");
  const list = notes.read();
  for (const button of document.querySelectorAll("[data-note]")) {
    const there = list.some((note) => note.id === JSON.parse(button.dataset.note).id);
    button.disabled = there;
    button.textContent = there ? "Added to the edit" : "Add to the edit";
  }
  if (!place) return;
  place.hidden = list.length === 0;
  place.replaceChildren(
    make("h3", { textContent: "Think of" }),
    make(
      "ul",
      {},
      ...list.map((note) => {
        const away = quiet("×", () => {
          notes.write(notes.read().filter((other) => other.id !== note.id));
          showNotes();
          box.focus();
        });
        away.setAttribute("aria-label", `Take “${note.token.trim()}” off this list`);
        const figures = `${note.kind}: is ${note.real}, predicted ${note.predicted}`;
        return make(
          "li",
          {},
          make(
            "span",
            { className: "think" },
            note.before,
            make("mark", { textContent: note.token }),
            note.after,
            make("span", { className: "hint", textContent: ` ${figures}` }),
          ),
          away,
        );
      }),
    ),
  );
}

document.addEventListener("click", ({ target }) => {
  if (!target.dataset?.note) return;
  const note = JSON.parse(target.dataset.note);
  notes.write([...notes.read().filter((other) => other.id !== note.id), note]);
  showNotes();
});

if (about) {
  showNotes();
  document.addEventListener("htmx:afterSettle", showNotes);
  addEventListener("storage", (event) => event.key === notes.key && showNotes());
}
if (box) {
  begin();
  followPreview();
  followInfluence();
  moveWithText();
}

// A comment that is being typed survives when the history is swapped; one that is posted goes.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const sent = detail.requestConfig.elt;
  if (!sent.matches(".comment-form") || detail.xhr.status >= 400) return;
  sent.querySelector("textarea").value = "";
  sent.closest("details").open = false;
});
