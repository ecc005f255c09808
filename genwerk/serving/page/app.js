// The page: which view is shown, which model is asked, light or dark, and the key where the server wants one.

import { get, onKeyNeeded, setKey } from "./api.js";
import { setUpChat } from "./chat.js";
import { byId, el } from "./dom.js";
import { showRuns } from "./runs.js";
import { setUpSearch, showSearch } from "./search.js";
import { closeSource } from "./source.js";
import { setUpStudio, showStudio } from "./studio.js";

const VIEWS = ["ask", "search", "studio", "runs"];
let first = "ask";
let shown = first;

function route() {
  const [, asked = first, id] = location.hash.split("/");
  const view = VIEWS.includes(asked) && !byId(`tab-${asked}`).hidden ? asked : first;
  for (const name of VIEWS) {
    byId(name).hidden = name !== view;
    byId(`tab-${name}`).setAttribute("aria-current", name === view ? "page" : "false");
  }
  document.body.classList.toggle("in-runs", view !== "ask");
  if (shown !== view) closeSource();
  shown = view;
  if (view === "search") showSearch(id);
  if (view === "runs") showRuns(id);
  if (view === "studio") showStudio();
}

function theme() {
  const root = document.documentElement;
  const saved = localStorage.getItem("genwerk-theme");
  if (saved) root.dataset.theme = saved;
  byId("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("genwerk-theme", root.dataset.theme);
  });
}

function askForKey(message) {
  const dialog = byId("key-dialog");
  byId("key-problem").textContent = sessionStorage.getItem("genwerk-key") ? message : "";
  byId("key").value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    byId("key-form").addEventListener("submit", () => {
      setKey(byId("key").value.trim());
      resolve();
    }, { once: true });
  });
}

async function models(preferred) {
  const picker = byId("model");
  const found = (await get("/v1/models")).data.filter((model) => !["embedding", "generator"].includes(model.genwerk.kind));
  picker.replaceChildren(...found.map((model) => el("option", { value: model.id, text: model.genwerk.kind === "adapter" ? `${model.id} · tuned` : model.id })));
  picker.value = preferred;
  picker.disabled = false;
}

async function start() {
  theme();
  onKeyNeeded(askForKey);
  byId("key-dialog").addEventListener("cancel", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !byId("key-dialog").open) closeSource();
  });
  addEventListener("hashchange", route);
  try {
    const info = await get("/v1/genwerk/info");
    document.title = `${info.name} · Genwerk`;
    byId("deployment").textContent = info.name;
    byId("tab-studio").hidden = !info.generators.length;
    if (info.generators.length) setUpStudio();
    if (!info.text) {
      first = "studio";
      byId("tab-ask").hidden = true;
      byId("model").parentElement.hidden = true;
      byId("new-chat").hidden = true;
      route();
      return;
    }
    byId("hint").textContent = info.guards.length ? `${info.guards.length} guards on · Enter sends, Shift + Enter breaks the line` : "Enter sends";
    byId("tab-search").hidden = !info.documents;
    if (info.documents) setUpSearch();
    await models(info.default_model);
    setUpChat(info);
  } catch (error) {
    byId("thread").replaceChildren(el("div", { class: "welcome" }, el("h1", { text: "The server does not answer" }), el("p", { class: "problem", role: "alert", text: error.message }),
      el("button", { type: "button", class: "primary", text: "Try again", onclick: () => location.reload() })));
  }
  route();
}

start();
