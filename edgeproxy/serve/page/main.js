// The conversation: what is asked, who answers, and what the keys do.

import { Failure, get, post, stream, takeKey } from "./api.js";
import { element } from "./explain/dom.js";
import { plain } from "./explain/words.js";
import { button, explanations, questionView, replyView } from "./replies.js";
import { saveAs } from "./save.js";
import * as sessions from "./sessions.js";
import * as store from "./store.js";
import { threadOf } from "./store.js";

const FORM = "edgeproxy-explain"; // of an explanation, and its version
const VERSION = 1;
const NEAR_END = 80; // pixels: who is so near to the end sees what is said
const EARLIER = 5; // conversations offered on an empty page
const SAVE_EVERY = 1000; // milliseconds of a reply
const STOPS_WITHIN = 2000; // milliseconds that the server may take to end a reply
const SENTENCE = /^[^]*[.!?。！？؟\n](?=\s|$)/;
const FIELDS = ["system", "strength", "temperature", "max-tokens", "seed"];

const at = (id) => document.getElementById(id);
const field = at("draft");
const main = document.querySelector("main");
const views = new Map(); // of messages, by their ids
let about = { trio: "edgeproxy", sentence: "", questions: [], alpha: null, explains: true, docs: null };
let models = [];
let under = null; // the AbortController of the reply under way; its id, and whether it is to stop
let listed = []; // sessions that the server keeps
let edited = null; // the message that the composer has, and what was in it before
let isColoured = store.settings.read().isColoured ?? true;

const acts = {
  isBusy: () => under !== null,
  isColoured: () => isColoured,
  hasRoles: () => ["base", "expert"].every((role) => modelOf(role)),
  versionsOf: (node) => store.childrenOf(node.parent).filter((other) => node.parent || threadOf(other) === threadOf(node)),
  follow(node) {
    store.follow(node.id);
    show();
  },
  edit(node) {
    edited = { node, before: edited ? edited.before : field.value };
    write(node.text);
    tell("You edit a message: sending it begins a branch, and what was said stays. Escape leaves it as it was.");
    field.focus();
  },
  again: (node) => answer(node.parent, node.parts.map(({ role, title, alpha }) => part(role, title, alpha))),
  withAlpha(place, alpha) {
    const id = place.closest("[data-id]").dataset.id;
    answer(store.find(id).parent, [part("", about.trio, alpha)]);
  },
  beside(node) {
    const { alpha } = node.parts.at(-1);
    answer(node.parent, [part("base", "base"), part("expert", "expert"), part("", "together", alpha)]);
  },
  open(place) {
    // The words that were pointed at stay under the pointer.
    const words = place?.querySelector(".text");
    const top = words?.getBoundingClientRect().top;
    for (const open of document.querySelectorAll(".part.open")) open.classList.remove("open");
    place?.classList.add("open");
    drawAll();
    if (!words) return;
    main.scrollTop += words.getBoundingClientRect().top - top;
    words.querySelector(".current").scrollIntoView({ block: "nearest" });
  },
  recolour() {
    isColoured = !isColoured;
    keepSettings();
    drawAll();
  },
};

function part(role, title, alpha = null) {
  return { role, title, alpha, text: "", state: "going" };
}

function modelOf(role) {
  return models.find(({ id }) => id === (role ? `${about.trio}:${role}` : about.trio));
}

const numberIn = (id) => (at(id).value === "" ? undefined : at(id).valueAsNumber);
const strength = () => numberIn("strength") ?? null;
const tell = (text) => (at("notice").textContent = text);

/** What the composer has: shown, kept, and as high as it needs. */
function write(text) {
  field.value = text;
  store.draft.keep(text);
}

// What is shown

function viewOf(node) {
  if (!views.has(node.id)) {
    const view = node.parts ? replyView(node, acts) : questionView(node, acts);
    view.place.dataset.id = node.id;
    views.set(node.id, view);
  }
  return views.get(node.id);
}

function drawAll() {
  for (const node of store.path()) viewOf(node).draw();
}

/** Show the conversation; what stands already stays where it is, and keeps the focus. */
function show() {
  const path = store.path();
  const log = at("log");
  const places = path.map((node) => viewOf(node).place);
  for (const place of [...log.children]) if (!places.includes(place)) place.remove();
  places.forEach((place, n) => log.children[n] === place || log.insertBefore(place, log.children[n] ?? null));
  places.forEach((place, n) => place.classList.toggle("last", n >= places.length - 2));
  drawAll();
  at("empty").hidden = path.length > 0;
  if (!path.length) showEmpty();
  at("stop").hidden = !under;
  at("send").hidden = Boolean(under);
  for (const id of ["as-json", "as-markdown"]) at(id).disabled = !path.length;
  at("fresh").disabled = Boolean(under) || !path.length;
  at("forget").disabled = Boolean(under) || (about.keeps_sessions && !path.length);
  showStatus(path.findLast(({ parts }) => parts?.at(-1).context)?.parts.at(-1));
  if (!store.isKept && !about.keeps_sessions) tell("This browser keeps nothing for the page, so a reload loses the conversation: save it under More.");
}

function showEmpty() {
  const ask = about.questions.map((text) => button(text, () => send(text)));
  const what = element("p", "", about.sentence, " ");
  if (/^(https?:\/)?\/[^/]/.test(about.docs ?? "")) {
    const link = element("a", "", "More on this");
    Object.assign(link, { href: about.docs, target: "_blank", rel: "noreferrer" });
    what.append(link);
  }
  const here = store.childrenOf(null).filter((node) => !node.thread && !node.session).slice(-EARLIER).reverse();
  const back = here.map((node) => button(node.text, () => acts.follow(node)));
  const parts = [what, element("div", "questions", ...ask)];
  if (listed.length) {
    const kept = listed.map(sessionButton);
    parts.push(element("h2", "", "Earlier"), element("div", "earlier", ...kept.slice(0, EARLIER)));
    const rest = element("div", "earlier", ...kept.slice(EARLIER));
    if (kept.length > EARLIER) parts.push(element("details", "", element("summary", "", `${kept.length - EARLIER} more`), rest));
  }
  const heading = listed.length ? "Earlier, in this browser alone" : "Earlier";
  if (back.length) parts.push(element("h2", "", heading), element("div", "earlier", ...back));
  at("empty").replaceChildren(...parts);
}

function sessionButton({ id, name, title, changed }) {
  const made = button(name || title, () => openSession(id));
  const day = new Date(changed).toLocaleDateString(undefined, { dateStyle: "medium" });
  made.append(element("span", "when", day));
  return made;
}

async function listSessions() {
  if (!about.keeps_sessions) return;
  try {
    const found = await sessions.list();
    const isNew = JSON.stringify(found) !== JSON.stringify(listed);
    listed = found;
    if (isNew && !store.path().length) showEmpty(); // else a button would lose the focus
  } catch (error) {
    tell(error.message);
  }
}

async function openSession(id) {
  try {
    const { at: place, system } = await sessions.open(id, about.trio);
    if (under) return;
    store.go(place);
    at("system").value = system;
    tell("");
    show();
    main.scrollTop = main.scrollHeight;
    field.focus();
  } catch (error) {
    tell(error.message);
    listSessions();
  }
}

/** Have the server keep what was said, where it does. */
async function keep(path) {
  if (!about.keeps_sessions) return;
  try {
    await sessions.save(path, at("system").value.trim());
  } catch (error) {
    tell(`The server does not keep this conversation: ${error.message}`);
  }
}

function showStatus(last) {
  const said = [about.trio];
  const alpha = strength() ?? about.alpha;
  if (alpha !== null) said.push(`alpha ${plain(alpha)}`);
  if (last?.speed) said.push(`${last.speed.toFixed(1)} tokens/s`);
  at("figures").textContent = said.join(" · ");
  const room = modelOf("")?.context_length;
  at("room").hidden = !room;
  if (!room) return;
  at("context").value = (last?.context ?? 0) / room;
  at("used").textContent = `${last?.context ?? 0} of ${room}`;
}

function follow(change) {
  const isAtEnd = main.scrollHeight - main.scrollTop - main.clientHeight < NEAR_END;
  change();
  if (isAtEnd) main.scrollTop = main.scrollHeight;
}

// Asking

/** Send a message: behind the last one, or beside the one that was edited. */
function send(text) {
  if (!text.trim()) return;
  if (under) {
    tell("A reply is under way; Escape stops it. What you typed stays.");
    return;
  }
  if (edited) store.go(edited.node.parent);
  const thread = edited && !edited.node.parent ? threadOf(edited.node) : undefined;
  const node = store.add({ role: "user", text, thread });
  tell(edited ? "This is a branch; the arrows at the message lead back." : "");
  answer(node.id, [part("", about.trio, strength())]);
}

async function answer(question, parts) {
  if (under) return;
  under = new AbortController();
  store.go(question);
  const messages = messagesOf(store.path());
  const node = store.add({ role: "assistant", parts });
  show();
  main.scrollTop = main.scrollHeight;
  for (const each of parts) {
    await speak(node, each, messages, under.signal);
    store.save();
  }
  under = null;
  keep(store.path());
  follow(show);
  const { place } = viewOf(node);
  if (parts.length === 1 && explanations.has(parts[0])) {
    // What each model said is open where the whole of it can be seen with the reply.
    follow(() => acts.open(place.firstChild.firstChild));
    if (place.offsetHeight > main.clientHeight) follow(() => acts.open(null));
  }
}

/** The conversation as the server reads it. A question that nobody answered is left out. */
function messagesOf(path) {
  const system = at("system").value.trim();
  const found = system ? [{ role: "system", content: system }] : [];
  path.forEach(({ text, parts }, n) => {
    if (parts?.at(-1).text) found.push({ role: "assistant", content: parts.at(-1).text });
    const isAnswered = n === path.length - 1 || path[n + 1].parts?.at(-1).text;
    if (!parts && isAnswered) found.push({ role: "user", content: text });
  });
  return found;
}

async function speak(node, each, messages, signal) {
  const view = viewOf(node);
  const began = performance.now();
  let [first, told, saved, isDue] = [0, 0, began, false];
  const drawSoon = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      if (each.state === "going") follow(() => view.draw(each));
    });
  };
  const call = under; // another one may be under way when this one hears that it was stopped
  const isStopped = () => signal.aborted || call.isStopped;
  try {
    if (isStopped()) throw new Failure("");
    for await (const { event, data } of askFor(each, messages, signal, (id) => (call.reply = id))) {
      if (event === "explanation") {
        if (data.form !== FORM || data.version !== VERSION || !data.tokens.length) continue;
        explanations.set(each, data);
        each.alpha = data.settings.alpha;
        each.isExplained = true;
        continue;
      }
      take(each, data);
      const now = performance.now();
      if (each.text) first ||= now;
      const [whole = ""] = SENTENCE.exec(each.text.slice(told)) ?? [];
      if (whole) say(whole);
      told += whole.length;
      if (now - saved > SAVE_EVERY) {
        store.save();
        saved = now;
      }
      drawSoon();
    }
    each.state = isStopped() && each.finish === "cancelled" ? "stopped" : "done";
  } catch (error) {
    each.state = isStopped() ? "stopped" : "failed";
    if (!isStopped()) each.error = error instanceof Failure ? error.message : String(error);
  }
  call.reply = null;
  each.seconds ??= (performance.now() - began) / 1000;
  if (each.tokens > 1) each.speed ??= (1000 * (each.tokens - 1)) / (performance.now() - first);
  say(`${each.text.slice(told)} ${each.state === "done" ? "" : each.state}`);
  follow(() => view.draw(each));
}

function askFor(each, messages, signal, named) {
  const { role, alpha } = each;
  const isExplained = !role && about.explains && alpha !== 0;
  each.asked = { temperature: numberIn("temperature"), max_tokens: numberIn("max-tokens"), seed: numberIn("seed") };
  const body = {
    model: role ? `${about.trio}:${role}` : about.trio,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    return_progress: true,
    alpha: role || alpha === null ? undefined : alpha,
    ...each.asked,
  };
  return stream(isExplained ? "v1/edgeproxy/explain" : "v1/chat/completions", body, signal, named);
}

/** What a chunk tells. */
function take(each, { choices, usage, prompt_progress: read, edgeproxy: more }) {
  each.text += choices?.[0]?.delta?.content ?? "";
  each.finish = more?.finish_reason ?? each.finish;
  if (read) {
    each.wait = `Reading the conversation: ${read.processed} of ${read.total} tokens`;
    each.share = read.total ? read.processed / read.total : undefined;
  }
  if (more?.queued) each.wait = `Waiting: ${more.queued.before} before you`;
  if (more?.loading) [each.wait, each.share] = [`Loading ${more.loading.what}`, more.loading.share];
  if (usage) {
    each.tokens = usage.completion_tokens;
    each.context = usage.prompt_tokens + usage.completion_tokens;
  }
  each.speed = more?.tokens_per_second ?? each.speed;
  each.seconds = more?.seconds ?? each.seconds;
  each.first = more?.first_token_seconds ?? each.first;
  each.accepted = more?.acceptance ?? each.accepted;
  each.documents = more?.documents?.passages ?? each.documents;
}

function say(text) {
  if (text.trim()) at("spoken").textContent = text;
}

// Keys and buttons

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = field.value;
  if (under || !text.trim()) return send(text);
  send(text);
  write(edited?.before ?? "");
  edited = null;
  field.focus();
});
field.addEventListener("input", () => store.draft.keep(field.value));
field.addEventListener("keydown", (event) => {
  if (event.isComposing) return; // Enter chooses a character
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    at("composer").requestSubmit();
  } else if (event.key === "ArrowUp" && field.value === "") {
    const last = store.path().findLast((node) => node.role === "user");
    if (!last || under) return;
    event.preventDefault();
    acts.edit(last);
  }
});
at("stop").addEventListener("click", stop);
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (under) stop();
  else if (edited) leave();
});

/** End the reply: the server ends it in good order, so that what each model said comes too. */
function stop() {
  field.focus();
  const call = under;
  if (!call) return;
  const isAskedTwice = call.isStopped;
  call.isStopped = true;
  if (!call.reply || isAskedTwice) {
    call.abort();
    return;
  }
  // Where it has ended meanwhile, all of it is on its way.
  post("v1/edgeproxy/cancel", { id: call.reply }).catch(({ status }) => status === 404 || call.abort());
  setTimeout(() => call.abort(), STOPS_WITHIN);
}

/** Leave a message as it was; what was typed into it stays in the composer. */
function leave() {
  const typed = field.value === edited.node.text ? "" : field.value;
  write([edited.before, typed].filter(Boolean).join("\n\n"));
  edited = null;
  tell("");
}

at("fresh").addEventListener("click", () => {
  store.go(null);
  at("system").value = store.settings.read().system ?? "";
  listSessions();
  if (edited) leave();
  show();
  field.focus();
});
at("forget").addEventListener("click", async () => {
  if (about.keeps_sessions) {
    if (confirm("Remove this conversation, here and from the server's history?")) removeSession();
    return;
  }
  if (!confirm("Forget all conversations that this browser keeps of this server?")) return;
  store.forget();
  views.clear();
  show();
});
for (const [id, kind] of [["as-json", "json"], ["as-markdown", "md"]]) {
  at(id).addEventListener("click", () => saveAs(kind, about.trio, at("system").value.trim(), store.path()));
}

async function removeSession() {
  const session = store.sessionOf(store.path()[0]);
  try {
    if (session) await sessions.remove(session);
  } catch (error) {
    if (error.status !== 404) return tell(error.message);
  }
  store.drop();
  at("fresh").click();
}

function keepSettings(changed) {
  store.settings.keep({ ...store.settings.read(), isColoured, ...changed });
}
for (const id of FIELDS) {
  at(id).value = store.settings.read()[id] ?? "";
  at(id).addEventListener("change", () => {
    keepSettings({ [id]: at(id).value });
    show();
  });
}

addEventListener("pagehide", store.save);
addEventListener("hashchange", takeKey);

async function begin() {
  try {
    const [told, found] = await Promise.all([get("v1/edgeproxy/about"), get("v1/models")]);
    about = { ...about, ...told };
    models = found.data;
    tell("");
    if (about.keeps_sessions) {
      store.useServer();
      at("forget").textContent = "Remove this conversation";
      listSessions();
    }
  } catch (error) {
    tell(error.message);
    at("notice").append(" ", button("Try again", begin));
  }
  at("name").textContent = document.title = about.trio;
  at("strength").placeholder = about.alpha ?? "";
  show();
}

takeKey();
field.value = store.draft.read();
for (const node of store.path()) {
  for (const each of node.parts ?? []) {
    if (each.state !== "going") continue;
    each.state = "failed";
    each.error = "The page was closed while this was written. Ask again to have all of it.";
  }
}
if (store.path().length) show(); // what was said can be read without the server
begin();
