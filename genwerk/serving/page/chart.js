// A line chart: axes with round numbers, a faint raw line under a smooth one, and the value under the pointer.

import { el, svg } from "./dom.js";

const PAD = { left: 56, right: 18, top: 14, bottom: 36 };
const HEIGHT = 260;

// series: [{name, points: [[x, y], …], smooth, dots}]
export function lineChart(series, { x: xName, y: yName }) {
  const frame = el("figure", { class: "chart" });
  const readout = el("figcaption", { class: "readout", "aria-live": "polite" });
  frame.append(readout);
  const state = { series, xName, yName, frame, readout, at: null };
  describe(state, null);
  const observer = new ResizeObserver(() => draw(state));
  observer.observe(frame);
  return frame;
}

function ticks(low, high, count) {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= count) || power * 10;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
  return found;
}

function shown(value) {
  const size = Math.abs(value);
  if (size >= 1000) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  return String(Number(value.toPrecision(4)));
}

// Mean over a window around each point, narrower at the ends, so that the line does not lag behind.
function smoothed(points) {
  const half = Math.max(2, Math.round(points.length / 24));
  return points.map(([x], place) => {
    const reach = Math.min(half, place, points.length - 1 - place);
    const window = points.slice(place - reach, place + reach + 1);
    return [x, window.reduce((sum, point) => sum + point[1], 0) / window.length];
  });
}

function draw(state) {
  const width = Math.max(280, Math.floor(state.frame.clientWidth));
  if (width === state.width) return;
  state.width = width;
  const all = state.series.flatMap((line) => line.points);
  const xs = all.map((point) => point[0]);
  const ys = all.map((point) => point[1]);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const margin = (Math.max(...ys) - Math.min(...ys)) * 0.06 || 0.5;
  const [y0, y1] = [Math.min(...ys) - margin, Math.max(...ys) + margin];
  state.px = (x) => PAD.left + ((x - x0) / (x1 - x0 || 1)) * (width - PAD.left - PAD.right);
  state.py = (y) => HEIGHT - PAD.bottom - ((y - y0) / (y1 - y0)) * (HEIGHT - PAD.top - PAD.bottom);
  const canvas = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", tabindex: 0, "aria-label": summary(state) });
  axes(state, canvas, ticks(x0, x1, width < 480 ? 4 : 8), ticks(y0, y1, 5), width);
  state.series.forEach((line, place) => trace(state, canvas, line, place));
  state.cursor = svg("g", { class: "cursor", visibility: "hidden" });
  canvas.append(state.cursor);
  canvas.addEventListener("pointermove", (event) => hover(state, nearest(state, event, canvas)));
  canvas.addEventListener("pointerleave", () => hover(state, null));
  canvas.addEventListener("keydown", (event) => step(state, event));
  state.frame.querySelector("svg")?.remove();
  state.frame.prepend(canvas);
}

function axes(state, canvas, xTicks, yTicks, width) {
  const bottom = HEIGHT - PAD.bottom;
  for (const value of yTicks) {
    const y = state.py(value);
    canvas.append(svg("line", { class: "grid", x1: PAD.left, x2: width - PAD.right, y1: y, y2: y }));
    canvas.append(label(shown(value), { x: PAD.left - 8, y: y + 4, "text-anchor": "end" }));
  }
  for (const value of xTicks) canvas.append(label(shown(value), { x: state.px(value), y: bottom + 18, "text-anchor": "middle" }));
  canvas.append(svg("line", { class: "axis", x1: PAD.left, x2: width - PAD.right, y1: bottom, y2: bottom }));
  canvas.append(label(state.xName, { x: width - PAD.right, y: HEIGHT - 3, "text-anchor": "end", class: "name" }));
}

function label(text, attributes) {
  const node = svg("text", attributes);
  node.textContent = text;
  return node;
}

function path(state, points) {
  return points.map(([x, y], place) => `${place ? "L" : "M"}${state.px(x).toFixed(1)} ${state.py(y).toFixed(1)}`).join("");
}

function trace(state, canvas, line, place) {
  if (line.smooth && line.points.length > 30) {
    canvas.append(svg("path", { class: `line raw series-${place}`, d: path(state, line.points) }));
    canvas.append(svg("path", { class: `line series-${place}`, d: path(state, smoothed(line.points)) }));
  } else {
    canvas.append(svg("path", { class: `line series-${place}`, d: path(state, line.points) }));
  }
  if (line.points.length <= 30) {
    for (const [x, y] of line.points) canvas.append(svg("circle", { class: `dot series-${place}`, cx: state.px(x), cy: state.py(y), r: 3 }));
  }
}

function nearest(state, event, canvas) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * state.width;
  const xs = [...new Set(state.series.flatMap((line) => line.points.map((point) => point[0])))];
  return xs.reduce((best, value) => (Math.abs(state.px(value) - x) < Math.abs(state.px(best) - x) ? value : best), xs[0]);
}

function step(state, event) {
  const xs = [...new Set(state.series.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
  const here = state.at === null ? -1 : xs.indexOf(state.at);
  const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: xs.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  hover(state, xs[Math.min(xs.length - 1, Math.max(0, next))]);
}

function hover(state, x) {
  state.at = x;
  state.cursor.replaceChildren();
  state.cursor.setAttribute("visibility", x === null ? "hidden" : "visible");
  describe(state, x);
  if (x === null) return;
  state.cursor.append(svg("line", { x1: state.px(x), x2: state.px(x), y1: PAD.top, y2: HEIGHT - PAD.bottom }));
  state.series.forEach((line, place) => {
    const point = line.points.find((item) => item[0] === x);
    if (point) state.cursor.append(svg("circle", { class: `dot series-${place}`, cx: state.px(x), cy: state.py(point[1]), r: 4 }));
  });
}

function describe(state, x) {
  const parts = state.series.map((line, place) => {
    const point = x === null ? line.points.at(-1) : line.points.find((item) => item[0] === x);
    return point && el("span", { class: `value series-${place}` }, el("i"), `${line.name} `, el("b", { text: shown(point[1]) }));
  });
  const where = x === null ? state.series[0].points.at(-1)[0] : x;
  state.readout.replaceChildren(el("span", { class: "quiet", text: `${state.xName} ${shown(where)}` }), ...parts.filter(Boolean));
}

function summary(state) {
  return state.series.map((line) => `${line.name} from ${shown(line.points[0][1])} to ${shown(line.points.at(-1)[1])}`).join("; ");
}
