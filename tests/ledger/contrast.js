// Runs in a page: returns every visible text and every shape of a chart or form whose contrast is below WCAG's AA.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const colour = (text) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = "#0000";
  canvas.fillStyle = text;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
const behind = (element) => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) {
    const layer = colour(getComputedStyle(at).backgroundColor);
    layers.push(layer);
    if (layer[3] === 1) break;
  }
  const canvasColour = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
  return layers.reverse().reduce((below, layer) => over(layer, below), canvasColour);
};
const light = ([r, g, b]) => {
  const part = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const contrast = (one, other) => {
  const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const isSeen = (element) => {
  const box = element.getBoundingClientRect();
  return box.width > 1 && box.height > 1 && element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
};
const weak = [];
let seen = 0;
const check = (element, ink, least, what) => {
  const ground = behind(element);
  const ratio = contrast(over(colour(ink), ground), ground);
  seen += 1;
  if (ratio < least) weak.push(`${ratio.toFixed(2)} of ${least}: ${what} (${ink} on ${ground.slice(0, 3).map(Math.round)})`);
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = texts.nextNode(); node; node = texts.nextNode()) {
  const element = node.parentElement;
  const what = node.data.trim();
  if (!what || !isSeen(element) || element.closest("option, script, style, title, desc, .unseen")) continue;
  const style = getComputedStyle(element);
  const size = parseFloat(style.fontSize);
  const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  check(element, element instanceof SVGElement ? style.fill : style.color, isLarge ? 3 : 4.5, what.slice(0, 60));
}
for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea, button, .button")) {
  if (!isSeen(field)) continue;
  const style = getComputedStyle(field);
  const outside = behind(field.parentElement);
  const edges = [style.borderTopColor, style.backgroundColor].map((ink) => contrast(over(colour(ink), outside), outside));
  seen += 1;
  if (field.type !== "checkbox" && Math.max(...edges) < 3) weak.push(`${Math.max(...edges).toFixed(2)} of 3: edge of ${field.name || field.textContent}`);
  const placed = field.placeholder && !field.value;
  check(field, placed ? getComputedStyle(field, "::placeholder").color : style.color, 4.5, `text of ${field.name || field.textContent}`);
}
for (const shape of document.querySelectorAll(".chart .column, .chart .point, .chart .trend")) {
  const style = getComputedStyle(shape);
  const ground = behind(shape.closest("svg").parentElement);
  const inks = [style.fill, style.stroke].filter((ink) => ink !== "none");
  const best = Math.max(...inks.map((ink) => contrast(over(colour(ink), ground), ground)));
  seen += 1;
  if (best < 3) weak.push(`${best.toFixed(2)} of 3: ${shape.getAttribute("class")}`);
}
return { seen, weak };
