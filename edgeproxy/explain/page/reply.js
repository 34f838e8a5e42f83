// A reply, token by token: the component that `explain` writes into a file and a server shows.

import { element } from "./dom.js";
import { fuse, levelOf } from "./fuse.js";
import { makePanel } from "./panel.js";
import { makeStrip } from "./strip.js";
import { percent, plain, spoken, withoutTurns } from "./words.js";

const STEP = 0.05; // of the slider
const SPEAKERS = { user: "Question", assistant: "Reply", system: "System" };
const NAMED = 12; // tokens that would be others, named below the slider

let sliders = 0; // on this page, each with an id of its own

/** Show an explained reply (see schema.json) in `place`, an empty element.
 *
 * `isWhole` says whether the question stands above it; where a server is behind, `again` is called
 * with the alpha to answer anew with. */
export function showReply(place, data, { isWhole = true, again = null } = {}) {
  const run = data.settings.alpha;
  let alpha = run;
  let pinned = firstToShow(data);
  let shown = pinned;
  const atRun = data.tokens.map((token) => fuse(data, token, run));
  let now = atRun;

  const { strip, paint } = makeStrip(data.tokens.length, choose);
  const { panel, show } = makePanel(data);
  const text = element("div", "text");
  text.setAttribute("role", "listbox");
  text.setAttribute("aria-label", "The reply, token by token");
  text.setAttribute("aria-orientation", "horizontal");
  text.dir = "auto";
  const tokens = data.tokens.map((token, n) => tokenElement(data, token, n));
  text.append(...tokens);
  const slider = makeSlider(data, (value) => {
    alpha = value;
    now = alpha === run ? atRun : data.tokens.map((token) => fuse(data, token, alpha));
    data.tokens.forEach((_, n) => draw(n));
    shownAgain();
    slider.tell(otherwiseSentence(data, alpha, atRun, now));
  }, again);

  place.classList.add("explained");
  place.append(
    ...(isWhole ? summary(data) : []),
    ...data.summary.said.map((said) => element("p", "verdict", said)),
    ...(tokens.length
      ? [
          strip,
          slider.row,
          element("div", "beside", element("div", "", text, legend(data)), panel),
          notes(data),
        ]
      : []),
    settings(data),
  );

  function draw(n) {
    const { winner, moved } = now[n];
    const level = levelOf(data, moved);
    const isOtherwise = winner !== atRun[n].winner;
    const isChanged = winner !== data.tokens[n].best.base[0][0];
    const isCurrent = n === shown;
    const token = tokens[n];
    for (const step of [0, 1, 2, 3, 4]) token.classList.toggle(`level-${step}`, step === level);
    token.classList.toggle("changed", isChanged);
    token.classList.toggle("otherwise", isOtherwise);
    token.classList.toggle("current", isCurrent);
    token.dataset.winner = winner;
    paint(n, level, isOtherwise, isCurrent);
  }

  function shownAgain() {
    if (tokens.length) show(shown, alpha, alpha === run ? null : now[shown]);
  }

  /** Show a token without holding on to it, as one that the pointer passes over. */
  function look(n) {
    if (n === shown) return;
    const before = shown;
    shown = n;
    draw(before);
    draw(n);
    shownAgain();
  }

  function choose(n, takesFocus = true) {
    tokens[pinned].tabIndex = -1;
    tokens[pinned].setAttribute("aria-selected", "false");
    pinned = n;
    tokens[n].tabIndex = 0;
    tokens[n].setAttribute("aria-selected", "true");
    look(n);
    if (takesFocus) tokens[n].focus();
  }

  const placeOf = (event) => tokens.indexOf(event.target.closest(".token"));
  text.addEventListener("pointerover", (event) => {
    if (event.pointerType === "mouse" && placeOf(event) >= 0) look(placeOf(event));
  });
  text.addEventListener("pointerleave", () => look(pinned));
  text.addEventListener("click", (event) => placeOf(event) >= 0 && choose(placeOf(event)));
  text.addEventListener("focusin", (event) => placeOf(event) >= 0 && choose(placeOf(event), false));
  text.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const next = nextPlace(event.key, pinned, tokens, getComputedStyle(text).direction === "rtl");
    if (next === null) return;
    event.preventDefault();
    choose(next);
  });

  data.tokens.forEach((_, n) => draw(n));
  if (tokens.length) {
    choose(pinned, false);
    shownAgain();
  }
}

/** Where a key leads from a place: arrows, Home and End; null for any other key. */
function nextPlace(key, at, tokens, isRightToLeft) {
  const last = tokens.length - 1;
  const isChanged = (token) => token.classList.contains("changed");
  switch (key) {
    case isRightToLeft ? "ArrowLeft" : "ArrowRight":
      return Math.min(at + 1, last);
    case isRightToLeft ? "ArrowRight" : "ArrowLeft":
      return Math.max(at - 1, 0);
    case "ArrowDown": {
      const found = tokens.findIndex((token, n) => n > at && isChanged(token));
      return found < 0 ? at : found;
    }
    case "ArrowUp": {
      const found = tokens.findLastIndex((token, n) => n < at && isChanged(token));
      return found < 0 ? at : found;
    }
    case "Home":
      return 0;
    case "End":
      return last;
    default:
      return null;
  }
}

/** The token to begin with: the one that moved farthest. */
function firstToShow(data) {
  let farthest = 0;
  data.tokens.forEach((token, n) => {
    if (token.moved > data.tokens[farthest].moved) farthest = n;
  });
  return farthest;
}

function tokenElement(data, token, n) {
  const made = element("span", "token", withoutTurns(token.text));
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", "false");
  made.tabIndex = -1;
  const word = data.words[token.id];
  if (token.text.trim() === "") {
    // Nothing to see: a mark stands for it, drawn by the style so that it is not copied.
    made.dataset.mark = token.text === "" && !token.special ? "·" : spoken(word);
    made.classList.add(token.special ? "special" : "unseen");
    made.setAttribute("aria-label", spoken(word));
  }
  if (token.changed) made.dataset.note = 1 + data.tokens.slice(0, n).filter((t) => t.changed).length;
  return made;
}

function summary(data) {
  const asked = data.messages.filter((message) => message.role !== "system").at(-1);
  const earlier = data.messages.filter((message) => message !== asked);
  const parts = [element("h1", "", "A reply, explained")];
  if (earlier.length) {
    parts.push(element("details", "earlier", element("summary", "", "What came before"), ...earlier.map(messageElement)));
  }
  if (asked) parts.push(messageElement(asked));
  return parts;
}

function messageElement({ role, content }) {
  const text = element("bdi", "", content);
  return element("p", "message", element("span", "role", `${SPEAKERS[role]}:`), " ", text);
}

function legend(data) {
  const steps = data.levels.length + 1;
  const scale = Array.from({ length: steps }, (_, n) => element("i", `level-${n}`));
  const changed = element("span", "changed", "underlined");
  return element(
    "p",
    "legend",
    "Grey: the base alone would have said it too. The deeper the ",
    element("span", "scale", ...scale),
    " blue, the farther the pair moved the choice; ",
    changed,
    ": the base alone would have said another token.",
  );
}

function makeSlider(data, moved, again) {
  const run = data.settings.alpha;
  const input = element("input");
  input.type = "range";
  sliders += 1;
  input.id = sliders === 1 ? "alpha" : `alpha-${sliders}`;
  input.min = Math.min(0, run);
  input.max = Math.max(2, run);
  input.step = STEP;
  input.value = run;
  const label = element("label", "", "alpha");
  label.htmlFor = input.id;
  const shown = element("output", "", plain(run));
  shown.htmlFor = input.id;
  const back = element("button", "", `As it was run (${plain(run)})`);
  back.type = "button";
  back.disabled = true;
  const anew = element("button", "again");
  anew.type = "button";
  anew.disabled = true;
  if (again) anew.addEventListener("click", () => again(Number(input.value)));
  const said = element("p", "otherwise-said");
  said.setAttribute("role", "status");
  const control = element("div", "control", label, shown, input, back, ...(again ? [anew] : []));
  const row = element("div", "slider", control, said);
  const set = (value) => {
    back.disabled = anew.disabled = value === run;
    anew.textContent = `Answer again with ${plain(value)}`;
    shown.value = plain(value);
    moved(value);
  };
  input.addEventListener("input", () => {
    // The alpha of the run need not be on a mark of the slider.
    const value = Number(input.value);
    set(Math.abs(value - run) < STEP / 2 ? run : value);
  });
  back.addEventListener("click", () => {
    input.value = run;
    set(run);
    input.focus();
  });
  return { row, tell: (parts) => said.replaceChildren(...parts) };
}

function otherwiseSentence(data, alpha, atRun, now) {
  const run = data.settings.alpha;
  if (alpha === run) return [];
  const others = data.tokens.flatMap((_, n) => (now[n].winner === atRun[n].winner ? [] : [n]));
  const tokens = (count) => `${count} token${count === 1 ? "" : "s"}`;
  if (!others.length) return [`With alpha ${plain(alpha)} every token would be the same.`];
  const unsure = others.filter((n) => !now[n].isCertain).length;
  const parts = [
    `With alpha ${plain(alpha)}, ${tokens(others.length)} would be said otherwise; `,
    `what follows a changed token was written for alpha ${plain(run)}.`,
    ...(unsure ? [` In place of ${tokens(unsure)} one that was not kept may come.`] : []),
  ];
  for (const n of others.slice(0, NAMED)) {
    const word = (id) => element("bdi", "quoted", spoken(data.words[id], true));
    const swap = element("span", "swap", word(atRun[n].winner), " → ", word(now[n].winner));
    parts.push(" ", swap);
  }
  if (others.length > NAMED) parts.push(` and ${others.length - NAMED} more`);
  return parts;
}

/** Footnotes for paper: what the base alone would have said. */
function notes(data) {
  const items = data.tokens
    .filter((token) => token.changed)
    .map((token) => {
      const [[base, likely], [fused, now]] = [token.best.base[0], token.best.fused[0]];
      const word = (id) => element("bdi", "", spoken(data.words[id], true));
      return element(
        "li",
        "",
        word(fused),
        ` (${percent(now)}); the base alone: `,
        word(base),
        ` (${percent(likely)})`,
      );
    });
  return element("ol", "notes", ...items);
}

function settings(data) {
  const { alpha, base_weight, plausibility, sampling } = data.settings;
  const how = [`alpha ${plain(alpha)}`];
  if (base_weight !== 1) how.push(`base weight ${plain(base_weight)}`);
  if (plausibility) how.push(`plausibility ${plain(plausibility)}`);
  how.push(sampling.temperature ? `temperature ${plain(sampling.temperature)}, seed ${sampling.seed}` : "the likeliest token each time");
  const list = element("dl");
  for (const [role, model] of Object.entries(data.models)) {
    const facts = [model.on_server ? "on a server, read with the tokenizer of " : "", model.name];
    for (const [name, scale] of Object.entries(model.adapters ?? {})) facts.push(` with ${name} × ${plain(scale)}`);
    const value = element("dd", "", facts.join(""));
    if (model.sha256) value.append(element("br"), element("code", "", `sha256 ${model.sha256}`));
    list.append(element("dt", "", role.replace("_", "-")), value);
  }
  return element(
    "details",
    "settings",
    element("summary", "", `${data.trio}: ${how.join(", ")}`),
    list,
  );
}
