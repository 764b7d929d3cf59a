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

function draw() {
  const style = getComputedStyle(document.documentElement);
  const font = getComputedStyle(document.body).fontFamily;
  for (const place of document.querySelectorAll("[data-figure]")) {
    const figure = resolve(figures[place.dataset.figure], style);
    figure.layout.font.family = font;
    Plotly.react(place, figure.data, figure.layout, { displayModeBar: false, responsive: true });
  }
}

draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
