// The server's interface: requests with the key, and streams of events.

const KEY = "edgeproxy.key"; // in sessionStorage: it goes with the tab
const UNREACHABLE = "The server cannot be reached; see that `edgeproxy serve` runs, then ask again.";
const BROKEN = "The connection to the server broke; what came is kept. Ask again to have all of it.";

/** What went wrong, in one sentence with the remedy; `status` is the answer's, if there was one. */
export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Keep the key that is in the address's fragment, and take it out of the address. */
export function takeKey() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (key === null) return;
  sessionStorage.setItem(KEY, key);
  history.replaceState(null, "", location.pathname + location.search);
}

let wanted = null; // the key, while a person is asked for it

/** The key by a form, which says why; those who ask at the same time ask once. */
function askForKey(why) {
  wanted ??= new Promise((resolve) => {
    const form = document.getElementById("key-form");
    const field = document.getElementById("key");
    document.getElementById("key-why").textContent =
      `${why} It stands behind "key=" in the address that the server printed when it started, ` +
      "or is the one that the server was given.";
    form.hidden = false;
    field.focus();
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, field.value.trim());
      field.value = "";
      form.hidden = true;
      wanted = null;
      resolve();
    };
  });
  return wanted;
}

async function failureOf(response) {
  const body = await response.json().catch(() => null);
  const said = body?.error?.message;
  const message = said ? String(said) : `The server answered with the status ${response.status}; ask again.`;
  return new Failure(message, response.status);
}

async function ask(path, body, signal, method = body ? "POST" : "GET") {
  for (;;) {
    const headers = {};
    const key = sessionStorage.getItem(KEY);
    // A header holds no other characters; with such a key the server asks for one.
    if (key && /^[\x21-\x7e]+$/.test(key)) headers.Authorization = `Bearer ${key}`;
    if (body) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
    } catch (error) {
      throw signal?.aborted ? error : new Failure(UNREACHABLE);
    }
    if (response.ok) return response;
    const failure = await failureOf(response);
    if (response.status !== 401) throw failure;
    // Another request may have asked meanwhile.
    if (key === sessionStorage.getItem(KEY)) await askForKey(key ? "This key is wrong." : "The server asks for its key.");
    signal?.throwIfAborted();
  }
}

async function jsonOf(response) {
  return response.json().catch(() => {
    throw new Failure(BROKEN);
  });
}

/** The JSON that is at `path`. Throws `Failure`, as all of these do. */
export const get = async (path) => jsonOf(await ask(path));

/** What is answered to a body. */
export const post = async (path, body) => jsonOf(await ask(path, body));

/** Remove what is at `path`. */
export const remove = async (path) => jsonOf(await ask(path, undefined, undefined, "DELETE"));

/** The events of a reply, as `{event, data}`; `named` hears what it is called. Throws what `signal` aborts with. */
export async function* stream(path, body, signal, named) {
  const response = await ask(path, body, signal);
  named(response.headers.get("X-Reply-Id"));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Failure(BROKEN);
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const { event, data } = fieldsOf(block);
        if (data === "[DONE]") return;
        if (!data) continue; // a comment, so that the connection stays
        const parsed = JSON.parse(data);
        if (parsed.error) throw new Failure(String(parsed.error.message));
        yield { event, data: parsed };
      }
    }
  } catch (error) {
    if (signal.aborted || error instanceof Failure) throw error;
    throw new Failure(BROKEN);
  }
}

function fieldsOf(block) {
  const fields = { event: "", data: [] };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^(\w*):? ?(.*)$/s.exec(line);
    if (name === "data") fields.data.push(value);
    if (name === "event") fields.event = value;
  }
  return { event: fields.event, data: fields.data.join("\n") };
}
