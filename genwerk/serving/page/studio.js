// The Studio: draw with a generator, watch it come, join two draws, and paint what shall be made anew.

import { draw, get } from "./api.js";
import { byId, el, icon } from "./dom.js";

const SLIDERS = [
  { name: "n", label: "Pictures", min: 1, max: 64, value: 16, always: true },
  { name: "steps", label: "Steps", min: 1, max: 100, value: 16 },
  { name: "guidance", label: "Guidance", min: 0, max: 8, step: 0.1, value: 1 },
  { name: "temperature", label: "Temperature", min: 0, max: 1.5, step: 0.05, value: 1 },
];
let generators = [];
let running = null;
let seed = 7;
let painting = null; // { image, mask, width, height }

export function setUpStudio() {
  byId("studio-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run(asked());
  });
  byId("studio-next").addEventListener("click", () => {
    seed = Math.floor(Math.random() * 1e6);
    run(asked());
  });
  byId("studio-model").addEventListener("change", choose);
  byId("brush-close").addEventListener("click", closeBrush);
  byId("brush-clear").addEventListener("click", () => { painting.mask.fill(0); paint(); });
  byId("brush-go").addEventListener("click", () => run({ ...asked(), start: painting.image, mask: maskPng(), between: undefined }));
  byId("brush-vary").addEventListener("click", () => run({ ...asked(), start: painting.image, strength: 0.6, between: undefined }));
  const size = byId("brush-size");
  size.addEventListener("input", () => { size.nextElementSibling.textContent = size.value; });
  size.nextElementSibling.textContent = size.value;
  const canvas = byId("brush-canvas");
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); stroke(event); });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) stroke(event); });
}

export async function showStudio() {
  if (generators.length) return;
  try {
    generators = (await get("/v1/genwerk/studio")).data;
  } catch (error) {
    byId("studio-problem").textContent = error.message;
    return;
  }
  byId("studio-model").replaceChildren(...generators.map((one) => el("option", { value: one.id, text: one.id })));
  choose();
  run(asked());
}

function chosen() {
  return generators.find((one) => one.id === byId("studio-model").value);
}

function can(use) {
  return chosen().uses.includes(use);
}

function choose() {
  const one = chosen();
  closeBrush();
  byId("studio-about").textContent = `${one.family} · ${one.shape[2]} × ${one.shape[1]}${one.solver ? ` · ${one.solver}` : ""}`;
  byId("studio-prompt-field").hidden = one.by === "nothing";
  byId("studio-prompt").value = "";
  byId("studio-prompt").placeholder = one.by === "class" ? "all classes in turn" : "in words";
  byId("studio-classes").replaceChildren(...one.classes.map((name) => el("option", { value: name })));
  byId("studio-chips").replaceChildren(...one.classes.slice(0, 24).map((name) => el("button", { type: "button", class: "chip pick", text: name, onclick: () => pick(name) })));
  byId("studio-sliders").replaceChildren(...SLIDERS.filter((slider) => slider.always || can(slider.name)).map((slider) => knob(slider, one)));
  byId("studio-between").hidden = !can("noise");
  byId("between-on").checked = false;
  byId("studio-report").replaceChildren(el("h3", { text: "Its report" }), el("iframe", { class: "report", src: one.report, title: "Report of the generator" }),
    el("a", { class: "plain", href: one.report, target: "_blank", rel: "noopener" }, "Open it alone ", icon("open")));
}

function pick(name) {
  byId("studio-prompt").value = name;
  run(asked());
}

function knob(slider, one) {
  const value = slider.name === "steps" && one.steps ? one.steps : slider.value;
  const shown = el("output", { text: String(value) });
  const input = el("input", { type: "range", id: `studio-${slider.name}`, min: slider.min, max: slider.max, step: slider.step || 1, oninput: (event) => { shown.textContent = event.target.value; } });
  input.value = value;
  return el("label", { class: "slider" }, slider.label, input, shown);
}

function asked() {
  const body = { model: chosen().id, seed, partial_images: 8 };
  for (const slider of SLIDERS) {
    const input = byId(`studio-${slider.name}`);
    if (input && (slider.always || slider.name === "steps" || Number(input.value) !== slider.value)) body[slider.name] = Number(input.value);
  }
  const prompt = byId("studio-prompt").value.trim();
  if (prompt) body.prompt = prompt;
  if (byId("between-on").checked) body.between = [Number(byId("between-from").value), Number(byId("between-to").value)];
  if (body.between && !body.prompt && chosen().by === "class") body.prompt = chosen().classes[0];
  return body;
}

async function run(body) {
  running?.abort();
  const own = (running = new AbortController());
  byId("studio-problem").textContent = "";
  const status = byId("studio-status");
  status.textContent = "drawing …";
  const frames = [];
  const began = performance.now();
  byId("studio-go").disabled = true;
  try {
    await draw(body, (chunk) => {
      if (own !== running) return;
      if (chunk.error) throw new Error(chunk.error.message);
      while (frames.length < body.n) frames.push(frame(frames.length));
      if (frames.length && byId("studio-gallery").children[0] !== frames[0]) byId("studio-gallery").replaceChildren(...frames);
      show(frames[chunk.image_index], chunk);
      status.textContent = `step ${chunk.step} of ${chunk.steps}`;
    }, own.signal);
    if (own === running) status.textContent = `${body.n} pictures in ${((performance.now() - began) / 1000).toFixed(1)} s · seed ${body.seed}${body.between ? ` · draws ${body.between[0]} to ${body.between[1]}` : ""}`;
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("studio-problem").textContent = error.message;
    status.textContent = "";
  } finally {
    if (own === running) byId("studio-go").disabled = false;
  }
}

function frame(index) {
  return el("button", { type: "button", class: "shot coming", "aria-label": `Picture ${index + 1}`, onclick: (event) => openBrush(event.currentTarget) }, el("img", { alt: `Picture ${index + 1}` }));
}

function show(shot, chunk) {
  shot.firstChild.src = `data:image/png;base64,${chunk.b64_json}`;
  shot.classList.toggle("coming", chunk.type !== "image_generation.completed");
}

// The brush

function openBrush(shot) {
  if (!can("start") || shot.classList.contains("coming")) return;
  const [, height, width] = chosen().shape;
  painting = { image: shot.firstChild.src.split(",")[1], picture: shot.firstChild.cloneNode(), mask: new Uint8Array(width * height), width, height };
  byId("brush").hidden = false;
  const canvas = byId("brush-canvas");
  canvas.width = width;
  canvas.height = height;
  paint();
}

function closeBrush() {
  painting = null;
  byId("brush").hidden = true;
}

function stroke(event) {
  const canvas = event.currentTarget;
  const box = canvas.getBoundingClientRect();
  const reach = Number(byId("brush-size").value) / 2;
  const x = ((event.clientX - box.left) / box.width) * painting.width;
  const y = ((event.clientY - box.top) / box.height) * painting.height;
  for (let row = Math.floor(y - reach); row <= y + reach; row += 1) {
    for (let column = Math.floor(x - reach); column <= x + reach; column += 1) {
      const inside = row >= 0 && column >= 0 && row < painting.height && column < painting.width;
      if (inside && Math.hypot(row + 0.5 - y, column + 0.5 - x) <= reach + 0.25) painting.mask[row * painting.width + column] = 1;
    }
  }
  paint();
}

function paint() {
  const context = byId("brush-canvas").getContext("2d");
  context.drawImage(painting.picture, 0, 0);
  context.fillStyle = "rgb(226 98 60 / 62%)";
  painting.mask.forEach((on, place) => { if (on) context.fillRect(place % painting.width, Math.floor(place / painting.width), 1, 1); });
}

function maskPng() {
  const canvas = el("canvas", { width: painting.width, height: painting.height });
  const context = canvas.getContext("2d");
  context.fillStyle = "black";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "white";
  painting.mask.forEach((on, place) => { if (on) context.fillRect(place % painting.width, Math.floor(place / painting.width), 1, 1); });
  return canvas.toDataURL("image/png").split(",")[1];
}
