// Tokens, probabilities and sentences as a person reads them.

import { element } from "./dom.js";

const MARKS = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍" };
// Controls, and what has no width or turns the direction of text.
const TURNS = /[\u202a-\u202e\u2066-\u2069]/g; // would turn the text of what follows too
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** A token as a word to point at: spaces and line breaks as marks, special ones in brackets. */
export function spoken(word, isInText = false) {
  if (word.bytes !== undefined) return `‹${word.bytes.replace(/(..)(?=.)/g, "$1 ")}›`;
  if (word.special) return `⟨${word.text.replace(/^<\|?|\|?>$/g, "") || "empty"}⟩`;
  if (word.text === "") return "⟨empty⟩";
  const text = isInText ? word.text.replace(/^ (?=\S)/, "") : word.text;
  return text
    .replace(/[ \n\t\r]/g, (mark) => MARKS[mark])
    .replace(UNSEEN, code);
}

/** Text to read, without what would turn the direction of all that follows. */
export function withoutTurns(text) {
  return text.replace(TURNS, code);
}

function code(character) {
  return `‹U+${character.codePointAt(0).toString(16).padStart(4, "0")}›`;
}

/** A probability in percent, from its logarithm. */
export function percent(logprob) {
  const p = logprob === null ? 0 : 100 * Math.exp(logprob);
  if (p >= 99.95) return "100%";
  if (p >= 9.95) return `${p.toFixed(0)}%`;
  return p >= 0.1 ? `${p.toFixed(1)}%` : "<0.1%";
}

/** A number of nats with its sign. */
export function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

/** A number as it was given, without what a computer adds to it. */
export function plain(value) {
  return String(Number(value.toFixed(4))).replace("-", "−");
}

/** A word in a sentence. */
export function quoted(word) {
  return element("strong", "quoted", element("bdi", "", spoken(word, true)));
}

/** Whether the plausibility mask left a kept token out. */
export function isMasked(data, token, id) {
  const { plausibility } = data.settings;
  if (!plausibility || token.alpha === 0) return false;
  const [, , expert] = token.known.find(([known]) => known === id);
  return expert < token.best.expert[0][1] + Math.log(plausibility);
}

/** "Base would have said X (41%); with the pair Y (63%)", as elements. */
export function sentence(data, token) {
  const word = (id) => quoted(data.words[id]);
  const [best, likely] = token.best.base[0];
  const [together, now] = token.best.fused[0];
  const said =
    best === together
      ? ["The base alone would have said ", word(best), ` too (${percent(likely)}`, `; with the pair ${percent(now)}).`]
      : ["The base alone would have said ", word(best), ` (${percent(likely)}); with the pair `, word(together), ` (${percent(now)}).`];
  if (token.id !== together) {
    said.push(" Drawn was ", word(token.id), ` (${percent(token.logprobs.fused)}).`);
  }
  if (isMasked(data, token, best)) {
    said.push(" The mask left ", word(best), " out, as the expert finds it implausible.");
  }
  if (token.brought) said.push(" None of the three alone would have said it.");
  return said;
}
