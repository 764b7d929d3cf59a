// Figures name their colours as CSS variables; plotly needs the values, and needs them again when the page turns dark.
const figures = JSON.parse(document.getElementById("figures").textContent);

function resolve(value, style) {
  if (typeof value === "string" && value.startsWith("var(")) return style.getPropertyValue(value.slice(4, -1)).trim();
  if (Array.isArray(value)) return value.map((item) => resolve(item, style));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, style)]));
  }
  return value;
}

const hidden = new Set();

function draw() {
  const style = getComputedStyle(document.documentElement);
  const font = getComputedStyle(document.body).fontFamily;
  for (const place of document.querySelectorAll("[data-figure]")) {
    const figure = resolve(figures[place.dataset.figure], style);
    figure.layout.font.family = font;
    for (const trace of figure.data) if (hidden.has(trace.meta)) trace.visible = false;
    Plotly.react(place, figure.data, figure.layout, { displayModeBar: false, responsive: true });
  }
}

draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
// Paper is narrower than most screens: charts are drawn anew as wide as their place is there, about 700 pixels less margins.
addEventListener("beforeprint", () => {
  for (const place of document.querySelectorAll("[data-figure]")) Plotly.relayout(place, { width: place.closest(".pair") ? 335 : 690 });
});
addEventListener("afterprint", draw);

// A key shows and hides its series in every chart.
for (const button of document.querySelectorAll("[data-series]")) {
  button.addEventListener("click", () => {
    const series = button.dataset.series;
    const shown = hidden.delete(series) || !hidden.add(series);
    button.setAttribute("aria-pressed", shown);
    draw();
  });
}

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
