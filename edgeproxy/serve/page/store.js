// The conversations, as a tree of messages: an edited message or another answer is a branch.
//
// localStorage keeps the messages and what was typed: neither a reload, a crash nor a closed tab
// loses it. sessionStorage keeps the place in the tree, for each tab has its own, and the key. What
// each model said is in memory only: it would fill the browser's store within a few replies.

const MESSAGES = "edgeproxy.messages";
const PLACE = "edgeproxy.place";
const DRAFT = "edgeproxy.draft";
const SETTINGS = "edgeproxy.settings";

let nodes = readNodes();
let place = nodes.has(sessionStorage.getItem(PLACE)) ? sessionStorage.getItem(PLACE) : null;

/** Whether the browser keeps what it is given. */
export let isKept = true;

/** A message's place in the tree is its `parent`; a reply has parts, one for each who answered. */
export function add(node) {
  const made = { id: `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`, ...node, parent: place };
  nodes.set(made.id, made);
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

/** Keep what has changed. Other tabs' messages stay. */
export function save() {
  nodes = new Map([...readNodes(), ...nodes]);
  const kept = new Map(nodes);
  const mine = path()[0];
  while (!put(localStorage, MESSAGES, JSON.stringify([...kept.values()]))) {
    // The store is full: the oldest conversation goes, this one last.
    const roots = [...kept.values()].filter((node) => !kept.has(node.parent));
    if (roots.length <= 1) break;
    kept.delete((roots.find((node) => node !== mine) ?? roots[0]).id);
  }
  put(sessionStorage, PLACE, place ?? "");
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

function readNodes() {
  try {
    return new Map(JSON.parse(localStorage.getItem(MESSAGES) ?? "[]").map((node) => [node.id, node]));
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
