// The server's API: JSON calls, the chat stream, and the key where one is needed.

let askForKey = null;

export function onKeyNeeded(handler) {
  askForKey = handler;
}

export function setKey(key) {
  sessionStorage.setItem("genwerk-key", key);
}

function headers(extra = {}) {
  const key = sessionStorage.getItem("genwerk-key");
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
}

async function problem(response) {
  let message = `The server answered ${response.status}.`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // the body is not JSON: the status says enough
  }
  const error = new Error(message);
  error.status = response.status;
  return error;
}

async function request(path, options = {}) {
  let response;
  const send = () => fetch(path, { ...options, headers: headers(options.headers), cache: "no-store" });
  try {
    response = await send();
    while (response.status === 401 && askForKey) {
      await askForKey((await problem(response)).message);
      response = await send();
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it still running?");
  }
  if (!response.ok) throw await problem(response);
  return response;
}

export async function get(path) {
  return (await request(path)).json();
}

export async function post(path, body) {
  return (await request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json();
}

// Calls `receive` with every chunk of the streamed completion. `signal` stops it, and with it the generation.
export async function chat(body, receive, signal) {
  const ended = await stream("/v1/chat/completions", { ...body, stream_options: { include_usage: true } }, receive, signal);
  if (!ended) throw new Error("The connection ended before the answer was complete.");
}

// The same for every preview and picture of a drawing.
export async function draw(body, receive, signal) {
  await stream("/v1/images/generations", body, receive, signal);
}

async function stream(path, body, receive, signal) {
  const response = await request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return false;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return true;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      receive(chunk);
    }
  }
}
