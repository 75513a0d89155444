// The values of an example's tokens by keyboard: the arrow keys go from one to the next.

function point(line, token) {
  line.querySelector(".pointed")?.classList.remove("pointed");
  token?.classList.add("pointed");
  // What the pointer does on a token shows its values; on the line itself, hides them.
  (token ?? line).dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
}

document.addEventListener("keydown", (event) => {
  const line = event.target;
  if (!line.matches?.(".tokens") || event.altKey || event.ctrlKey || event.metaKey) return;
  const tokens = [...line.querySelectorAll(".t")];
  const at = tokens.findIndex((token) => token.matches(".pointed"));
  const last = tokens.length - 1;
  const to = {
    ArrowRight: Math.min(at + 1, last),
    ArrowLeft: Math.max(at - 1, 0),
    Home: 0,
    End: last,
  }[event.key];
  if (event.key === "Escape") return point(line);
  if (to === undefined) return;
  event.preventDefault();
  point(line, tokens[to]);
});

document.addEventListener("focusout", ({ target }) => {
  if (target.matches?.(".tokens")) point(target);
});
