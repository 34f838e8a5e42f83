// Messages on the page: questions, and replies as they come in and as they stand.

import { element } from "./explain/dom.js";
import { showReply } from "./explain/reply.js";
import { plain, withoutTurns } from "./explain/words.js";
import { markdown } from "./markdown.js";

/** What each model said for the tokens of a part of a reply, while the page is open. */
export const explanations = new WeakMap();

const WENT_ON = "It did not end by itself, and was cut off.";
const CUT = {
  length: "It was cut off at the most tokens that the settings allow; raise them and answer again.",
  context: "The context is full, so it was cut off; begin a new conversation.",
  cancelled: "The server cut it short; answer again.",
};

let tabs = 0;

/** A button that does something. */
export function button(text, act, label = "") {
  const made = element("button", "", text);
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

/** Who answered: a role, or the trio and its alpha. */
export function titleOf(part) {
  return `${part.title}${part.alpha === null ? "" : `, alpha ${plain(part.alpha)}`}`;
}

/** A question: `{place, draw}`, as all views are. */
export function questionView(node, acts) {
  const text = element("p", "asked", withoutTurns(node.text));
  text.dir = "auto";
  const branch = element("span", "branch");
  const foot = element("div", "foot", branch, button("Edit", () => acts.edit(node)));
  const place = element("article", "question", element("h2", "unseen", "You"), text, foot);
  return { place, draw: () => drawBranch(branch, node, acts) };
}

/** A reply of one part, or of one for each who answered. */
export function replyView(node, acts) {
  const parts = node.parts.map((part) => partView(part, acts));
  const branch = element("span", "branch");
  const again = button("Answer again", () => acts.again(node));
  const beside = button("Side by side", () => acts.beside(node));
  again.className = beside.className = "latest";
  const isSide = parts.length > 1;
  // A long one is scrolled for itself, by the keyboard too.
  for (const { body } of isSide ? parts : []) body.tabIndex = 0;
  const row = element("div", isSide ? "parts side" : "parts", ...parts.map((part) => part.place));
  const choose = isSide ? makeTabs(node, parts, row) : () => {};
  const place = element("article", "reply", row);
  if (isSide) place.append(element("div", "foot", branch, again, beside));
  else parts[0].foot.append(again, beside, branch);
  return {
    place,
    draw(part) {
      parts.forEach((view, n) => (part ?? node.parts[n]) === node.parts[n] && view.draw());
      choose(node.parts.findIndex((each) => each.state === "going"));
      drawBranch(branch, node, acts);
      again.textContent = node.parts.some((each) => each.state === "failed") ? "Ask again" : "Answer again";
      again.disabled = beside.disabled = acts.isBusy();
      beside.hidden = isSide || !acts.hasRoles();
    },
  };
}

function drawBranch(place, node, acts) {
  const all = acts.versionsOf(node);
  const at = all.indexOf(node);
  const to = (text, by, label) => {
    const made = button(text, () => acts.follow(all[at + by]), label);
    made.disabled = !all[at + by] || acts.isBusy();
    return made;
  };
  place.hidden = all.length < 2;
  place.replaceChildren(to("‹", -1, "The branch before"), ` branch ${at + 1} of ${all.length} `, to("›", 1, "The branch after"));
}

/** Tabs above the parts, for narrow windows. `choose(n)` shows part n unless a person has chosen. */
function makeTabs(node, parts, row) {
  tabs += 1;
  const list = element("div", "tabs");
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", "Who answers");
  let isFree = true;
  const made = parts.map((part, n) => {
    const tab = button(node.parts[n].title, () => choose(n, true));
    Object.assign(tab, { id: `tab-${tabs}-${n}`, role: "tab" });
    Object.assign(part.place, { id: `part-${tabs}-${n}`, role: "tabpanel" });
    tab.setAttribute("aria-controls", part.place.id);
    part.place.setAttribute("aria-labelledby", tab.id);
    return tab;
  });
  list.addEventListener("keydown", ({ key }) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (by) choose((made.indexOf(document.activeElement) + by + made.length) % made.length, true);
  });
  function choose(n, isChosen = false) {
    if (n < 0 || !(isFree || isChosen)) return;
    isFree &&= !isChosen;
    made.forEach((tab, each) => {
      tab.ariaSelected = each === n;
      tab.tabIndex = each === n ? 0 : -1;
      parts[each].place.classList.toggle("chosen", each === n);
    });
    if (isChosen) made[n].focus();
  }
  list.append(...made);
  row.prepend(list);
  choose(parts.length - 1);
  return choose;
}

function partView(part, acts) {
  const head = element("h2");
  const body = element("div");
  const wait = element("p", "wait");
  const failed = element("p", "failed");
  failed.setAttribute("role", "alert");
  const documents = element("div", "documents");
  const figures = element("span", "figures");
  const copy = button("Copy", () => copyText(part.text, body, copy));
  const why = button("Why these words?", () => acts.open(why.isOpen ? null : place));
  const colours = button("Colours", acts.recolour);
  const foot = element("div", "foot", figures, why, colours, copy);
  const place = element("section", "part", head, body, wait, failed, documents, foot);
  let explained = null;
  function draw() {
    const data = explanations.get(part);
    const isGoing = part.state === "going";
    const isColoured = acts.isColoured();
    head.textContent = titleOf(part);
    place.setAttribute("aria-busy", isGoing);
    body.className = isGoing && isColoured ? "body text" : "body";
    body.dir = "auto";
    if (data && isColoured) {
      explained ??= component(data, place, acts);
      // Put there once, as it would lose the focus.
      if (body.firstChild !== explained) body.replaceChildren(explained);
    } else if (isGoing && isColoured) body.textContent = withoutTurns(part.text);
    else body.replaceChildren(...markdown(part.text));
    wait.replaceChildren(...(isGoing && !part.text ? waiting(part) : []));
    const isAlone = part.role && ["length", "context"].includes(part.finish);
    const cut = isAlone ? WENT_ON : CUT[part.finish];
    failed.textContent = part.error ?? (part.state === "stopped" ? "" : cut) ?? "";
    documents.replaceChildren(...documentsOf(part));
    figures.textContent = figuresOf(part);
    if (part.isExplained && !data) figures.append(" · the colours went with the page: answer again to see them");
    foot.hidden = isGoing;
    copy.hidden = !part.text;
    colours.hidden = !data;
    colours.ariaPressed = isColoured;
    why.hidden = !data || !isColoured;
    why.isOpen = place.classList.contains("open");
    why.ariaExpanded = why.isOpen;
  }
  return { place, body, foot, draw };
}

function component(data, part, acts) {
  const place = element("div");
  showReply(place, data, { isWhole: false, again: (alpha) => acts.withAlpha(part, alpha) });
  place.addEventListener("click", ({ target }) => target.closest(".token, .strip") && acts.open(part));
  place.addEventListener("keydown", ({ key, target }) => {
    if (key !== "Tab" && key !== "Shift" && key !== "Escape" && target.closest(".token")) acts.open(part);
  });
  return place;
}

function waiting(part) {
  const bar = element("progress");
  bar.ariaLabel = "How far it is";
  if (part.share !== undefined) bar.value = part.share;
  return [part.wait ?? "Asking …", " ", bar];
}

function figuresOf({ state, tokens, seconds, speed, accepted }) {
  const said = state === "stopped" ? ["stopped"] : [];
  if (tokens && seconds) said.push(`${tokens} token${tokens === 1 ? "" : "s"} in ${Math.max(seconds, 0.1).toFixed(1)} s`);
  if (speed) said.push(`${speed.toFixed(1)} tokens/s`);
  if (accepted) said.push(`${(100 * accepted).toFixed(0)}% of drafts accepted`);
  return said.join(" · ");
}

/** Which passages of documents were read, and what of them the reply says. */
function documentsOf(part) {
  const lines = (part.documents ?? []).map(({ source, place, trail, quotation, lacks }) => {
    const lacking = lacks?.length && `which does not say ${lacks.map((name) => `“${name}”`).join(" or ")}`;
    const said = [source, place, ...(trail ?? []), quotation && `“${quotation}”`, lacking];
    return withoutTurns(said.filter(Boolean).join(", "));
  });
  if (!lines.length) return [];
  return ["Read in your documents:", element("ul", "", ...[...new Set(lines)].map((line) => element("li", "", line)))];
}

async function copyText(text, body, said) {
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "Copied";
  } catch {
    // Not a page that may: over plain HTTP from another machine.
    getSelection().selectAllChildren(body);
    said.textContent = "Selected: copy it with Ctrl+C";
  }
}
