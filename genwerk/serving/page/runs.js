// Every artifact of the workspace: its metrics, loss curve, gates, lineage, and the evaluation report.

import { get } from "./api.js";
import { lineChart } from "./chart.js";
import { byId, copyButton, el, icon } from "./dom.js";

const KINDS = {
  report: "Evaluation report", evaluation: "Measurements", model: "Model", pretrained: "Model trained from scratch", adapter: "Adapter",
  index: "Index", fit: "Fitted retrieval", dataset: "Dataset", tokenizer: "Tokenizer", tokens: "Token shards", deployment: "Deployment",
  reranker: "Reranker", reranking: "Reranking, decided", abstention: "Silence, fitted with the reranker",
};
let runs = [];

export async function showRuns(id) {
  const list = byId("run-list");
  if (!runs.length) list.replaceChildren(...skeleton());
  try {
    runs = (await get("/v1/genwerk/runs")).data;
  } catch (error) {
    list.replaceChildren(el("p", { class: "problem pad", role: "alert", text: error.message }));
    return;
  }
  if (!runs.length) {
    list.replaceChildren(el("p", { class: "quiet pad", text: "Nothing has been made yet. Run a recipe: genwerk run RECIPE" }));
    byId("run-detail").replaceChildren();
    return;
  }
  const chosen = runs.find((run) => run.id === id) || runs.find((run) => run.report) || runs[0];
  list.replaceChildren(el("h1", { class: "list-title", text: "Runs" }), ...runs.map((run) => entry(run, run === chosen)));
  await showRun(chosen);
}

function skeleton() {
  return Array.from({ length: 6 }, () => el("div", { class: "entry skeleton", "aria-hidden": "true" }));
}

function when(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : date.toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

function entry(run, current) {
  return el("a", { class: "entry", href: `#/runs/${run.id}`, "aria-current": current ? "true" : null },
    el("span", { class: "entry-top" }, el("b", { text: KINDS[run.kind] || run.kind }), run.serving ? el("span", { class: "badge live", text: "serving" }) : null, gateBadge(run.gates)),
    el("span", { class: "entry-low" }, el("span", { class: "mono", text: run.id.slice(0, 8) }), el("span", { text: when(run.created) })));
}

function gateBadge(gates) {
  if (!gates) return null;
  return el("span", { class: gates.passed ? "badge good" : "badge bad", text: gates.passed ? "gates passed" : "gates failed" });
}

async function showRun(run) {
  const detail = byId("run-detail");
  detail.replaceChildren(el("p", { class: "quiet", role: "status", text: "Loading…" }));
  let full;
  try {
    full = await get(`/v1/genwerk/runs/${run.id}`);
  } catch (error) {
    detail.replaceChildren(el("p", { class: "problem", role: "alert", text: error.message }));
    return;
  }
  detail.replaceChildren(...[header(full), gates(full), report(full), curves(full), metrics(full), lineage(full), config(full)].filter(Boolean));
  detail.scrollTop = 0;
}

function header(run) {
  return el("header", { class: "detail-head" },
    el("div", {}, el("h2", { text: KINDS[run.kind] || run.kind }), el("p", { class: "facts-line" },
      el("span", { class: "mono" }, run.id, copyButton(run.id, "Copy the id")), el("span", { text: when(run.created) }), run.serving ? el("span", { class: "badge live", text: "serving" }) : null)),
    run.report ? el("a", { class: "primary", href: run.report, target: "_blank", rel: "noopener" }, "Open the report", icon("open")) : null);
}

function section(title, ...children) {
  return el("section", { class: "block" }, el("h3", { text: title }), ...children);
}

function gates(run) {
  if (!run.gates || !run.gates.results.length) return null;
  const rows = run.gates.results.map((result) => el("li", { class: result.passed ? "gate good" : "gate bad" }, icon(result.passed ? "check" : "cross"),
    el("span", { class: "mono", text: result.gate }), el("span", { class: "quiet", text: result.reason })));
  return section("Gates", el("ul", { class: "gates" }, ...rows));
}

function report(run) {
  if (!run.report) return null;
  return section("Report", el("iframe", { class: "report", src: run.report, title: "Evaluation report", loading: "lazy" }));
}

function curves(run) {
  if (!run.curve.length) return run.has_curve ? section("Loss", el("p", { class: "quiet", text: "The curve is empty." })) : null;
  const points = (key) => run.curve.filter((row) => Number.isFinite(row[key])).map((row) => [row.step, row[key]]);
  const charts = [];
  const loss = points("loss");
  if (loss.length > 1) charts.push(section("Training loss", lineChart([{ name: "loss (nats per token)", points: loss, smooth: true }], { x: "step", y: "loss" })));
  const keys = new Set(run.curve.flatMap((row) => Object.keys(row).filter((key) => key.startsWith("val"))));
  for (const key of keys) {
    const held = points(key);
    if (held.length > 1) charts.push(section("On held-out documents", lineChart([{ name: key.replace(/^val_/, "").replaceAll("_", " "), points: held }], { x: "step", y: key })));
  }
  return el("div", { class: "charts" }, ...charts);
}

function metrics(run) {
  const names = Object.keys(run.metrics);
  if (!names.length) return null;
  const rows = names.map((name) => el("div", { class: "metric" }, el("dt", { text: name }), el("dd", { text: number(run.metrics[name]) })));
  return section("Metrics", el("dl", { class: "metrics" }, ...rows));
}

function number(value) {
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(5)));
}

function lineage(run) {
  if (!run.lineage.length && !Object.keys(run.sources).length) return null;
  const parents = run.lineage.map((parent) => el("a", { class: "parent", href: `#/runs/${parent.id}` }, el("b", { text: KINDS[parent.kind] || parent.kind }), el("span", { class: "mono", text: parent.id.slice(0, 8) })));
  const sources = Object.entries(run.sources).map(([name, sha256]) => el("span", { class: "parent", title: sha256 }, el("b", { text: name }), el("span", { class: "mono", text: sha256.slice(0, 8) })));
  return section("Made from", el("div", { class: "parents" }, ...sources, ...parents));
}

function config(run) {
  const files = Object.entries(run.files).map(([name, sha256]) => `${sha256.slice(0, 16)}  ${name}`).join("\n");
  return section("Config and files",
    el("details", {}, el("summary", { text: "Config" }), el("pre", { text: JSON.stringify(run.config, null, 2) })),
    el("details", {}, el("summary", { text: `${Object.keys(run.files).length} files with their hashes` }), el("pre", { text: files })),
    el("p", { class: "facts-line" }, el("span", { class: "mono", text: `content ${run.content_sha256.slice(0, 24)}…` }), el("span", { class: "mono", text: run.function })));
}
