// The panel beside the chat: the document a citation points into, scrolled to the passage.

import { get } from "./api.js";
import { byId, copyButton, el, icon, short } from "./dom.js";

let opener = null;
let panel = null;
let latest = 0;

// Offsets count code points; JavaScript strings count UTF-16 units.
export function unitOffset(text, points) {
  let units = 0;
  for (let seen = 0; seen < points && units < text.length; seen += 1) {
    units += text.codePointAt(units) > 0xffff ? 2 : 1;
  }
  return units;
}

export function closeSource() {
  if (!panel || panel.hidden) return false;
  latest += 1;
  panel.hidden = true;
  panel.replaceChildren();
  document.body.classList.remove("with-source");
  mark(null);
  opener?.focus();
  return true;
}

export async function openSource(span, button, place = "source") {
  panel = byId(place);
  const turn = (latest += 1);
  opener = button;
  mark(button);
  panel.hidden = false;
  document.body.classList.add("with-source");
  panel.replaceChildren(head(span), el("p", { class: "quiet pad", text: "Opening the document…" }));
  panel.querySelector("button.close").focus();
  try {
    const found = await get(`/v1/genwerk/documents/${encodeURIComponent(span.document_id)}`);
    if (turn === latest) show(span, found);
  } catch (error) {
    if (turn === latest) panel.replaceChildren(head(span), el("p", { class: "problem pad", text: error.message, role: "alert" }));
  }
}

function mark(button) {
  document.querySelectorAll("[aria-expanded=true].opens-source").forEach((node) => node.setAttribute("aria-expanded", "false"));
  button?.setAttribute("aria-expanded", "true");
}

function head(span) {
  return el("div", { class: "source-head" },
    el("div", { class: "source-title" }, span.number ? el("span", { class: "cite still", text: String(span.number) }) : icon("document"),
      el("h2", { text: span.title || span.source })),
    el("button", { type: "button", class: "icon close", title: "Close (Esc)", "aria-label": "Close the source", onclick: closeSource }, icon("cross")));
}

function show(span, found) {
  const start = unitOffset(found.text, span.start);
  const end = start + unitOffset(found.text.slice(start), span.end - span.start);
  const passage = el("mark", { id: "passage", tabIndex: -1, text: found.text.slice(start, end) });
  const same = found.sha256 === span.sha256 && (span.quote === undefined || span.quote === passage.textContent);
  const facts = el("dl", { class: "facts" },
    el("dt", { text: "Source" }), el("dd", { class: "mono", text: found.source }),
    ...(span.headings?.length ? [el("dt", { text: "Section" }), el("dd", { text: span.headings.join(" › ") })] : []),
    ...(span.place ? [el("dt", { text: "Place" }), el("dd", { text: span.place })] : []),
    el("dt", { text: "SHA-256" }), el("dd", { class: "mono" }, el("span", { title: found.sha256, text: short(found.sha256, 25) }), copyButton(found.sha256, "Copy the SHA-256")),
    el("dt", { text: "Passage" }), el("dd", {}, `characters ${span.start.toLocaleString("en")} to ${span.end.toLocaleString("en")} of ${[...found.text].length.toLocaleString("en")} `));
  const seal = el("p", { class: same ? "seal good" : "seal bad" }, icon(same ? "check" : "alert"),
    same ? "The quoted words stand in this document, character for character." : "This document is not the one that was cited.");
  const text = el("div", { class: "document", tabIndex: 0 }, found.text.slice(0, start), passage, found.text.slice(end));
  panel.replaceChildren(head(span), facts, seal, text);
  text.scrollTop = passage.offsetTop - text.offsetTop - Math.max(40, (text.clientHeight - passage.offsetHeight) / 3);
  panel.querySelector("button.close").focus();
}
