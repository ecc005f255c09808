// The conversation: ask, show the answer as it comes, each sentence with its source, and what the guards decided.

import { chat } from "./api.js";
import { byId, copyButton, el, icon, short } from "./dom.js";
import { closeSource, openSource } from "./source.js";

const REMEMBERED = 3; // earlier turns that go along with a question
const RULES = {
  "input.injection": "No attempt to change the instructions",
  "input.pii": "No personal data in the question",
  "output.pii": "No personal data beyond the sources",
  "output.grounding": "Every sentence has a source",
};
const OUTCOMES = { redacted: "masked", blocked: "stopped" };

const state = { turns: [], running: null, info: null };

export function setUpChat(info) {
  state.info = info;
  byId("grounded").checked = info.grounded;
  byId("grounded").disabled = !info.grounded;
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (state.running) state.running.abort();
    else ask(byId("question").value);
  });
  byId("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!state.running) ask(byId("question").value);
  });
  byId("question").addEventListener("input", grow);
  byId("new-chat").addEventListener("click", newChat);
  newChat();
}

export function newChat() {
  state.running?.abort();
  state.turns = [];
  closeSource();
  byId("thread").replaceChildren(state.info ? welcome(state.info) : "");
  byId("question").focus();
}

function grow() {
  const field = byId("question");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, 200)}px`;
}

function welcome(info) {
  const about = info.grounded
    ? `Every sentence comes with the passage it rests on, out of ${count(info.chunks, "passage")} in ${count(info.documents, "document")}. What the documents do not say, it does not answer.`
    : "This deployment has no documents: it answers from the model alone.";
  const examples = info.questions.map((question) => el("button", { type: "button", class: "example", onclick: () => ask(question) }, el("span", { text: question })));
  return el("div", { class: "welcome" }, el("h1", { text: "What would you like to know?" }), el("p", { text: about }),
    examples.length ? el("div", { class: "examples", "aria-label": "Example questions" }, ...examples) : null);
}

function count(number, word) {
  return `${(number ?? 0).toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

async function ask(question) {
  question = question.trim();
  if (!question || state.running) return;
  byId("question").value = "";
  grow();
  byId("thread").querySelector(".welcome")?.remove();
  const turn = new Turn(question, byId("grounded").checked);
  byId("thread").append(turn.node);
  turn.node.scrollIntoView({ block: "start", behavior: "smooth" });
  state.running = new AbortController();
  document.body.classList.add("answering");
  byId("send").setAttribute("aria-label", "Stop");
  try {
    const body = { model: byId("model").value, messages: [...memory(), { role: "user", content: question }], grounded: turn.grounded };
    await chat(body, (chunk) => turn.take(chunk), state.running.signal);
    turn.finish();
    state.turns.push(turn);
  } catch (error) {
    if (error.name === "AbortError") turn.stopped();
    else turn.failed(error, () => { turn.node.remove(); ask(question); });
  }
  state.running = null;
  document.body.classList.remove("answering");
  byId("send").setAttribute("aria-label", "Send");
}

function memory() {
  const kept = state.turns.filter((turn) => turn.reason !== "content_filter" && !turn.extra.abstained).slice(-REMEMBERED);
  return kept.flatMap((turn) => [{ role: "user", content: turn.question }, { role: "assistant", content: turn.text.replace(/ ?\[\d+\]/g, "") }]);
}

class Turn {
  constructor(question, grounded) {
    Object.assign(this, { question, grounded, text: "", extra: {}, reason: null, usage: null, passages: [] });
    this.status = el("p", { class: "status", role: "status" }, el("span", { class: "pulse" }), el("span", { text: grounded ? "Searching the documents" : "Thinking" }));
    this.body = el("div", { class: "answer", "aria-live": "polite" });
    this.foot = el("div", { class: "foot" });
    this.node = el("article", { class: "turn" }, el("p", { class: "question", text: question }), this.status, this.body, this.foot);
  }

  take(chunk) {
    const extra = chunk.genwerk || {};
    if (chunk.usage) this.usage = chunk.usage;
    if (extra.passages && !this.passages.length) {
      this.passages = extra.passages;
      this.status.lastChild.textContent = `Reading ${count(this.passages.length, "passage")}`;
    }
    const choice = chunk.choices[0];
    if (!choice) return;
    if (choice.delta.content) this.piece(choice.delta.content, extra);
    if (choice.finish_reason) {
      this.reason = choice.finish_reason;
      this.extra = extra;
    }
  }

  piece(text, extra) {
    this.status.classList.add("writing");
    this.status.lastChild.textContent = "Writing";
    this.text += text;
    if (!extra.citation) {
      this.body.append(text);
      return;
    }
    if (extra.quoted && !this.body.hasChildNodes()) this.body.before(el("p", { class: "quiet small", text: "In the words of the document" }));
    const words = text.replace(/\s*\[\d+\]$/, "");
    const sentence = el(extra.quoted ? "q" : "span", { class: extra.quoted ? "sentence quoted" : "sentence", text: words.trimStart(), title: held(extra) });
    this.body.append(words.startsWith(" ") ? " " : "", sentence, "\u2060", citeButton(extra.citation, held(extra)));
  }

  finish() {
    this.status.remove();
    if (this.reason === "content_filter") this.node.classList.add("blocked");
    else if (this.extra.abstained) this.node.classList.add("abstained");
    const callout = this.callout();
    if (callout) this.body.before(callout);
    const cited = this.extra.citations || [];
    if (cited.length) this.foot.append(sources(cited));
    else if (this.extra.abstained && this.passages.length) this.foot.append(nearest(this.passages));
    this.foot.append(verdicts(this.extra.verdicts || [], this.reason === "content_filter"), this.facts());
    this.body.normalize();
  }

  callout() {
    if (this.reason === "content_filter") return el("p", { class: "callout bad" }, icon("shield"), "Stopped by a guard");
    if (this.extra.abstained) return el("p", { class: "callout calm" }, icon("search"), "Not in the documents");
    if (this.reason === "length") return el("p", { class: "callout calm" }, icon("alert"), "Cut at the limit of tokens");
    return null;
  }

  facts() {
    const { adapter, model, answer_id: id } = this.extra;
    const used = adapter ? `${adapter} on ${model}` : model;
    const tokens = this.usage?.total_tokens ? `${this.usage.prompt_tokens.toLocaleString("en")} + ${this.usage.completion_tokens.toLocaleString("en")} tokens` : "";
    return el("p", { class: "facts-line" }, el("span", { text: used }), el("span", { text: tokens, title: "prompt + answer" }),
      el("span", { class: "mono" }, `trace ${id}`, copyButton(`genwerk trace ${id}`, "Copy the command that traces this answer")));
  }

  stopped() {
    this.status.remove();
    this.body.after(el("p", { class: "callout calm" }, "Stopped."));
  }

  failed(error, again) {
    this.status.remove();
    this.body.after(el("div", { class: "callout bad", role: "alert" }, icon("alert"), el("span", { text: error.message }),
      el("button", { type: "button", class: "plain", text: "Try again", onclick: again })));
  }
}

// How well the quote holds its sentence, in words; also how many of several answers say it.
function held(extra) {
  const share = (part) => `${Math.round(100 * part)} %`;
  const { words, cosine } = extra.grounding || {};
  const grounding = extra.grounding ? `${share(words)} of its words stand there, likeness ${cosine.toFixed(2)}` : "";
  return [grounding, extra.agreed ? `in ${share(extra.agreed)} of the answers drawn` : ""].filter(Boolean).join(", ");
}

function citeButton(citation, support) {
  const name = [`Source ${citation.number}: ${titled(citation)}`, support].filter(Boolean).join("; ");
  const button = el("button", { type: "button", class: "cite opens-source", text: String(citation.number), title: [titled(citation), support].filter(Boolean).join("\n"), "aria-label": name, "aria-expanded": "false", "aria-controls": "source" });
  button.addEventListener("click", () => openSource(citation, button));
  return button;
}

function titled(span) {
  return [span.title, ...(span.headings || []).slice(-1), span.place].filter(Boolean).join(", ");
}

function sources(cited) {
  const cards = cited.map((citation) => {
    const card = el("button", { type: "button", class: "card opens-source", "aria-expanded": "false", "aria-controls": "source" },
      el("span", { class: "cite still", text: String(citation.number) }),
      el("span", { class: "card-text" }, el("b", { text: titled(citation) }), el("span", { class: "quiet", text: short(citation.quote.replace(/\s+/g, " "), 110) })));
    card.addEventListener("click", () => openSource(citation, card));
    return card;
  });
  return el("div", { class: "cards", "aria-label": "Sources" }, ...cards);
}

function nearest(passages) {
  const cards = passages.slice(0, 3).map((passage) => {
    const card = el("button", { type: "button", class: "card opens-source", "aria-expanded": "false", "aria-controls": "source" }, icon("document"),
      el("span", { class: "card-text" }, el("b", { text: titled(passage) }), el("span", { class: "quiet", text: short(passage.text.replace(/\s+/g, " "), 110) })));
    card.addEventListener("click", () => openSource(passage, card));
    return card;
  });
  return el("div", {}, el("p", { class: "quiet small", text: "The nearest passages" }), el("div", { class: "cards" }, ...cards));
}

function verdicts(found, refused) {
  const passed = found.filter((verdict) => verdict.outcome === "passed");
  const acted = found.filter((verdict) => verdict.outcome !== "passed");
  const row = el("div", { class: "chips", "aria-label": "Guards" });
  for (const verdict of acted) {
    const leftOut = verdict.outcome === "blocked" && !refused; // one sentence was held back, the rest was shown
    row.append(el("span", { class: `chip ${leftOut ? "redacted" : verdict.outcome}`, title: verdict.reason }, icon(leftOut || refused ? "shield" : "alert"),
      el("span", { class: "mono", text: verdict.rule }), el("span", { text: leftOut ? "left out" : OUTCOMES[verdict.outcome] })));
  }
  if (passed.length) {
    const names = passed.map((verdict) => el("li", {}, el("span", { class: "mono", text: verdict.rule }), el("span", { class: "quiet", text: RULES[verdict.rule] || "" })));
    row.append(el("details", { class: "chip passed" }, el("summary", {}, icon("check"), `${count(passed.length, "check")} passed`), el("ul", {}, ...names)));
  }
  return row;
}
