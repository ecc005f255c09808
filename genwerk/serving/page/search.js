// The search as it is: every passage with its rank and score by words, by meaning and by both.

import { post } from "./api.js";
import { byId, el, icon } from "./dom.js";
import { openSource } from "./source.js";

const ARMS = { bm25: "Words", dense: "Meaning", hybrid: "Both" };
let fitted = null;
let arm = "";
let turn = 0;
let rerank = null;
let rewrite = null;

export function setUpSearch() {
  byId("search-arms").append(...Object.entries(ARMS).map(([name, label]) =>
    el("label", {}, el("input", { type: "radio", name: "search-arm", value: name, onchange: () => { arm = name; again(); } }), el("span", { text: label }))));
  byId("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = `#/search/${encodeURIComponent(byId("search-query").value.trim())}`;
    if (location.hash === asked) again();
    else location.hash = asked;
  });
  byId("search-weight").addEventListener("input", () => { weight(); });
  byId("search-weight").addEventListener("change", again);
  byId("search-mmr").addEventListener("input", chosen);
  byId("search-more").addEventListener("change", (event) => {
    if (event.target.id === "search-rerank") rerank = event.target.checked;
    if (event.target.id === "search-rewrite") rewrite = event.target.value;
    chosen();
    again();
  });
}

// What differs from a plain search, in the request's own names.
function options() {
  const where = byId("search-where").value.split(",").map((pair) => pair.trim()).filter(Boolean);
  const variety = Number(byId("search-mmr").value);
  return {
    ...(where.length ? { where } : {}),
    ...(byId("search-fusion").value === "rrf" ? { fusion: "rrf" } : {}),
    ...(variety ? { mmr: 1 - variety } : {}),
    ...(byId("search-distinct").checked ? { distinct: true } : {}),
    ...(byId("search-spelling").checked ? {} : { spelling: false }),
    ...(rerank === null ? {} : { rerank }),
    ...(rewrite === null ? {} : { rewrite }),
  };
}

function chosen() {
  byId("search-mmr-field").querySelector("output").textContent = Number(byId("search-mmr").value).toFixed(2);
  const many = Object.keys(options()).length;
  byId("search-chosen").textContent = many ? `${many} changed` : "";
}

export function showSearch(asked) {
  const query = asked ? decodeURIComponent(asked) : byId("search-query").value.trim();
  byId("search-query").value = query;
  if (query) again();
  else byId("search-query").focus();
}

function weight() {
  byId("search-weight-field").querySelector("output").textContent = Number(byId("search-weight").value).toFixed(2);
}

async function again() {
  const query = byId("search-query").value.trim();
  if (!query) return;
  const mine = (turn += 1);
  const status = byId("search-status");
  status.textContent = "Searching…";
  try {
    const body = { query, k: 20, ...(arm ? { arm } : {}), ...(fitted ? { weight: Number(byId("search-weight").value) } : {}), ...options() };
    const found = await post("/v1/search", body);
    if (mine === turn) show(found);
  } catch (error) {
    if (mine === turn) status.replaceChildren(el("span", { class: "problem", role: "alert", text: error.message }));
  }
}

function show(found) {
  fitted = found.fitted;
  arm = found.arm;
  byId("search-arms").querySelector(`[value=${arm}]`).checked = true;
  byId("search-weight").value = found.weight;
  byId("search-weight-field").hidden = arm !== "hybrid" || found.fusion === "rrf";
  byId("search-rerank-field").hidden = fitted.rerank === null;
  byId("search-rerank").checked = found.reranked;
  byId("search-rewrite").value = found.rewritten;
  weight();
  chosen();
  const best = arm === fitted.arm ? "as fitted on this collection" : `fitted on this collection: ${ARMS[fitted.arm].toLowerCase()}`;
  const told = [...found.corrections.map((one) => `searched for “${one.searched}” instead of “${one.asked}”`),
    ...(found.repeated ? [`${found.repeated} identical texts left out`] : []), ...(found.reranked ? ["reranked"] : []),
    ...(found.rewritten === "none" ? [] : ["the model was asked once"])];
  byId("search-status").textContent = `${[`${found.data.length ? `The first ${found.data.length}` : "Nothing found"} of ${found.searched.toLocaleString("en")} passages, ${found.milliseconds.toFixed(0)} ms, ${best}`, ...told].join(" · ")}`;
  const top = Object.fromEntries(Object.keys(ARMS).map((name) => [name, Math.max(1e-9, ...found.data.map((item) => item.arms[name]?.score ?? 0))]));
  byId("search-results").replaceChildren(...found.data.map((item) => result(item, top)));
}

function result(item, top) {
  const open = el("button", { type: "button", class: "search-open opens-source", "aria-expanded": "false",
    onclick: () => openSource({ ...item, quote: item.text }, open, "search-source") }, icon("document"), el("b", { text: item.title }), el("span", { class: "quiet mono small", text: [item.source, ...(item.headings || []).slice(-1), item.place].filter(Boolean).join(", ") }));
  return el("li", { class: "search-result" }, open, el("p", { class: "search-text", text: item.text.trim() }),
    el("dl", { class: "search-scores" }, ...Object.entries(ARMS).flatMap(([name, label]) => score(label, item.arms[name], top[name]))));
}

function score(label, place, top) {
  const bar = el("span", { class: "search-bar" }, el("i", {}));
  bar.firstChild.style.width = `${place ? Math.max(0, (100 * place.score) / top) : 0}%`;
  return [el("dt", { text: label }), el("dd", { title: place ? `score ${place.score.toFixed(4)}` : "not among its first hundred" },
    el("span", { class: "search-rank", text: place ? `${place.rank}.` : "–" }), bar, el("span", { class: "mono small", text: place ? place.score.toFixed(3) : "" }))];
}
