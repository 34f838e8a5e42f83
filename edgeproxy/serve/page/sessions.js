// Conversations that the server keeps: sessions of its history, as messages of the page and back.

import { get, post, remove as removeAt } from "./api.js";
import * as store from "./store.js";

const PATH = "v1/edgeproxy/sessions";
const [MOST_PASSAGES, MOST_TRAIL, LONGEST] = [64, 32, 2000];
const ROLES = { base: "base", expert: "expert", anti_expert: "anti-expert" };

let saving = Promise.resolve(); // one after another

const pathOf = (session) => `${PATH}/${encodeURIComponent(session)}`;

/** The sessions, the latest first. */
export const list = async () => (await get(PATH)).data;

/** Remove a session. */
export const remove = (session) => removeAt(pathOf(session));

/** Take a session's messages; the message that it goes on from, and its system message. */
export async function open(session, trio) {
  const { messages, head } = await get(pathOf(session));
  const entries = new Map(messages.map((each) => [each.id, each]));
  const before = ({ parent }, isWanted) => {
    let at = entries.get(parent);
    while (at && !isWanted(at)) at = entries.get(at.parent);
    return at;
  };
  const isSystem = ({ role }) => role === "system";
  const found = messages
    .filter((entry) => !isSystem(entry))
    .map((entry) => {
      const what = entry.role === "user" ? { text: entry.text } : { parts: partsOf(entry, trio) };
      return { role: entry.role, kept: entry.id, parent: before(entry, (at) => !isSystem(at))?.id, ...what };
    });
  const here = store.take(session, found);
  return { at: here.get(head)?.id ?? null, system: before({ parent: head }, isSystem)?.text ?? "" };
}

/** Have the server keep what of a conversation it does not have. Throws `Failure`. */
export function save(path, system) {
  saving = saving.catch(() => {}).then(() => saveNow(path, system));
  return saving;
}

async function saveNow(path, system) {
  const parent = path.findLast((node, n) => node.kept && (node.parts || path[n + 1]?.parts))?.kept;
  const fresh = path.filter((node, n) => !node.kept && isSaid(node, path[n + 1]));
  if (!fresh.length) return;
  const messages = fresh.map(entryOf);
  if (!parent && system) messages.unshift({ role: "system", text: system });
  const { id, messages: numbers } = await post(PATH, { id: store.sessionOf(path[0]), parent, messages });
  path[0].session = id; // also where nobody answered it
  fresh.forEach((node, n) => Object.assign(node, { session: id, kept: numbers.at(n - fresh.length) }));
  store.save();
}

/** Whether there are words of it: of a question, of its reply. */
const isSaid = ({ parts }, next) => Boolean((parts ?? next?.parts)?.at(-1).text);

function entryOf({ text, parts }) {
  if (!parts) return { role: "user", text };
  const last = parts.at(-1);
  const others = parts.slice(0, -1).filter((each) => each.text);
  const beside = others.map((each) => ({ role: each.role, ...replyOf(each) }));
  return { role: "assistant", ...replyOf(last), settings: { ...last.asked, alpha: last.alpha }, beside };
}

function replyOf({ text, state, finish, tokens, context, seconds, first, accepted, documents }) {
  const cut = (words) => words && String(words).slice(0, LONGEST);
  const stats = {
    prompt_tokens: tokens === undefined ? undefined : context - tokens,
    completion_tokens: tokens,
    seconds,
    first_token_seconds: first,
    acceptance: accepted,
    documents: documents?.slice(0, MOST_PASSAGES).map(({ source, place, trail }) => ({
      source: cut(source),
      place: cut(place),
      trail: trail?.slice(0, MOST_TRAIL).map(cut),
    })),
  };
  return { text, finish_reason: state === "done" ? finish : "cancelled", stats };
}

function partsOf({ text, finish_reason: finish, settings, stats }, trio) {
  const others = Array.isArray(stats.beside) ? stats.beside.filter((each) => ROLES[each?.role]) : [];
  const parts = others.map((each) => partOf(each.role, ROLES[each.role], each.text, each.finish_reason, each.stats));
  const last = partOf("", parts.length ? "together" : trio, text, finish, stats);
  return [...parts, { ...last, alpha: number(settings.steering?.alpha) ?? null }];
}

const number = (value) => (Number.isFinite(value) ? value : undefined);
const words = (value) => (typeof value === "string" ? value : "");
const listOf = (value) => (Array.isArray(value) ? value : []);

/** A reply of what a history holds, by whomever it was written. */
function partOf(role, title, text, finish, took) {
  const { usage, stats, acceptance, documents } = took ?? {};
  const [tokens, seconds, first] = [usage?.completion, stats?.seconds, stats?.first_seconds].map(number);
  return {
    role,
    title,
    alpha: null,
    text: words(text),
    state: finish === "cancelled" ? "stopped" : "done",
    finish: words(finish),
    tokens,
    context: number(usage?.prompt + tokens),
    seconds,
    first,
    speed: tokens > 1 && seconds > first ? (tokens - 1) / (seconds - first) : undefined,
    accepted: number(acceptance) ?? number(stats?.drafted?.accepted / stats?.drafted?.drafted),
    documents: listOf(documents).map((each) => ({
      source: words(each?.source),
      place: words(each?.place),
      trail: listOf(each?.trail).map(words),
    })),
  };
}
