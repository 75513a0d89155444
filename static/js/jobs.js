// The title of the page begins with how far the work is. A page about one job says how far that one
// is; other pages repeat what their head says. The last mark on the page counts.

function showProgress() {
  const marks = document.querySelectorAll("[data-progress]");
  const progress = marks.length ? marks[marks.length - 1].dataset.progress : "";
  const bare = document.title.replace(/^\d+% · /, "");
  document.title = progress ? `${progress} · ${bare}` : bare;
}

for (const swapped of ["DOMContentLoaded", "htmx:afterSettle", "htmx:oobAfterSwap"]) {
  document.addEventListener(swapped, showProgress);
}
