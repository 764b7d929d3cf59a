// A key shows and hides its series in every chart.
for (const button of document.querySelectorAll("button[data-series]")) {
  button.addEventListener("click", () => {
    const hide = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", !hide);
    for (const mark of document.querySelectorAll(`svg [data-series="${button.dataset.series}"]`)) mark.style.display = hide ? "none" : "";
  });
}

// Paper shows the recipe; the reader's page is afterwards as it was.
const closed = new Set();
addEventListener("beforeprint", () => {
  for (const recipe of document.querySelectorAll("details.recipe:not([open])")) {
    closed.add(recipe);
    recipe.open = true;
  }
});
addEventListener("afterprint", () => {
  for (const recipe of closed) recipe.open = false;
  closed.clear();
});

// A heading sorts its table, what is better first, and the other way round at the second click; what is not known stays last.
for (const table of document.querySelectorAll(".sortable")) {
  const [first, rest] = table.tHead.rows;
  const headings = [first.cells[0], ...rest.cells];
  headings.forEach((heading, column) =>
    heading.firstElementChild.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      const start = Number(heading.firstElementChild.dataset.better) > 0 ? "descending" : "ascending";
      const order = before === "ascending" ? "descending" : before === "descending" ? "ascending" : start;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      const key = (row) => row.cells[column].dataset.key ?? "";
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
        return (order === "ascending" ? 1 : -1) * (Number(key(a)) - Number(key(b)));
      });
      table.tBodies[0].append(...rows);
    }),
  );
}
