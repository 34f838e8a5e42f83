// The conversations, as a tree of messages: an edited message or another answer is a branch.
//
// localStorage keeps the messages and what was typed: neither a reload, a crash nor a closed tab
// loses it. sessionStorage keeps the place in the tree, for each tab has its own, and the key. What
// each model said is in memory only: it would fill the browser's store within a few replies.
//
// Where the server keeps conversations, localStorage has what it does not have yet. What it has is
// marked with its session and its number there, and is in sessionStorage while it is looked at.

const MESSAGES = "edgeproxy.messages";
const KEPT = "edgeproxy.kept";
const PLACE = "edgeproxy.place";
const DRAFT = "edgeproxy.draft";
const SETTINGS = "edgeproxy.settings";

let nodes = new Map([...readNodes(localStorage, MESSAGES), ...readNodes(sessionStorage, KEPT)]);
let hasServer = false;
const own = new Set(); // the messages of this tab
const gone = new Set(); // those that were removed
let place = nodes.has(sessionStorage.getItem(PLACE)) ? sessionStorage.getItem(PLACE) : null;

/** Whether the browser keeps what it is given. */
export let isKept = true;

/** A message's place in the tree is its `parent`; a reply has parts, one for each who answered. */
export function add(node) {
  const made = { id: `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`, ...node, parent: place };
  nodes.set(made.id, made);
  own.add(made.id);
  go(made.id);
  return made;
}

/** Go to a message; to none for a new conversation. */
export function go(id) {
  place = nodes.has(id) ? id : null;
  save();
}

/** Go to a message, and on from it to the last of its newest answers. */
export function follow(id) {
  for (let next = id; next; next = childrenOf(next).at(-1)?.id) place = next;
  save();
}

/** The messages of the conversation, the oldest first. */
export function path() {
  const found = [];
  for (let node = nodes.get(place); node; node = nodes.get(node.parent)) found.unshift(node);
  return found;
}

/** The message of this id. */
export function find(id) {
  return nodes.get(id);
}

/** The messages that follow one; those that conversations begin with for null. */
export function childrenOf(parent) {
  return [...nodes.values()].filter((node) => node.parent === parent);
}

/** Forget all conversations, here and in the browser's store. */
export function forget() {
  nodes = new Map();
  localStorage.removeItem(MESSAGES);
  go(null);
}

/** Which conversation a first message begins: those that it was edited into begin the same one. */
export const threadOf = (node) => node.thread ?? node.id;

/** The first messages of the conversation that this one begins. */
const rootsOf = (first) => childrenOf(null).filter((node) => threadOf(node) === threadOf(first));

/** The server's session of the conversation that a message begins. */
export const sessionOf = (first) => rootsOf(first).find(({ session }) => session)?.session;

/** Forget the conversation that is looked at. */
export function drop() {
  for (let level = rootsOf(path()[0]); level.length; level = level.flatMap(({ id }) => childrenOf(id))) {
    for (const { id } of level) gone.add(id);
  }
  for (const id of gone) nodes.delete(id);
  go(null);
}

/** From now on the server keeps conversations. */
export function useServer() {
  hasServer = true;
}

/** Take the messages of a session, in the order in which they came; those that are here stay. By their numbers. */
export function take(session, found) {
  const here = new Map([...nodes.values()].filter((node) => node.session === session).map((node) => [node.kept, node]));
  let first;
  for (const each of found) {
    const parent = here.get(each.parent)?.id ?? null;
    const node = here.get(each.kept) ?? { ...each, id: `${session}.${each.kept}`, session, parent };
    if (!node.parent && (first ??= node) !== node) node.thread ??= threadOf(first);
    here.set(each.kept, node);
    nodes.set(node.id, node);
  }
  return here;
}

/** Keep what has changed. Other tabs' messages stay. */
export function save() {
  const mine = path()[0];
  const stored = readNodes(localStorage, MESSAGES);
  if (!hasServer) nodes = new Map([...stored, ...nodes]);
  const kept = new Map([...stored, ...[...nodes].filter(([id]) => !hasServer || own.has(id))]);
  for (const id of kept.keys()) if (nodes.get(id)?.kept || gone.has(id)) kept.delete(id);
  if (hasServer) keepSession(mine && sessionOf(mine));
  while (!put(localStorage, MESSAGES, JSON.stringify([...kept.values()]))) {
    // The store is full: the oldest conversation goes, this one last.
    const roots = [...kept.values()].filter((node) => !kept.has(node.parent));
    if (roots.length <= 1) break;
    kept.delete((roots.find((node) => node !== mine) ?? roots[0]).id);
  }
  put(sessionStorage, PLACE, place ?? "");
}

/** What the server keeps of the conversation that is looked at: a reload shows it at once. */
function keepSession(session) {
  const found = [...nodes.values()].filter((node) => session && node.session === session);
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(found));
  } catch {
    sessionStorage.removeItem(KEPT); // it can be opened again
  }
}

function put(store, key, value) {
  try {
    store.setItem(key, value);
    isKept = true;
  } catch {
    isKept = false;
  }
  return isKept;
}

function readNodes(store, key) {
  try {
    return new Map(JSON.parse(store.getItem(key) ?? "[]").map((node) => [node.id, node]));
  } catch {
    return new Map();
  }
}

addEventListener("storage", (event) => {
  // Forgotten in another tab: what is looked at here stays.
  if (event.key === MESSAGES && event.newValue === null) nodes = new Map(path().map((node) => [node.id, node]));
});

/** What was typed and not sent. */
export const draft = {
  read: () => sessionStorage.getItem(DRAFT) ?? localStorage.getItem(DRAFT) ?? "",
  keep(text) {
    put(sessionStorage, DRAFT, text);
    put(localStorage, DRAFT, text);
  },
};

/** How replies are asked for and shown. */
export const settings = {
  read() {
    try {
      return JSON.parse(localStorage.getItem(SETTINGS)) ?? {};
    } catch {
      return {};
    }
  },
  keep: (values) => put(localStorage, SETTINGS, JSON.stringify(values)),
};
