// What each model said for one token: a sentence, four lists of bars, and what was added.

import { element, shape } from "./dom.js";
import { percent, plain, quoted, sentence, signed, spoken } from "./words.js";

const SHOWN = 5; // tokens in each list
const ROWS = [
  ["base", "base"],
  ["expert", "expert"],
  ["anti_expert", "anti-expert"],
  ["fused", "together"],
];

/** The panel of a reply, empty at first. */
export function makePanel(data) {
  const panel = element("section", "panel");
  panel.setAttribute("aria-label", "What each model said here");
  panel.tabIndex = 0; // where it scrolls, the keyboard scrolls it too
  const heading = element("h2");
  const said = element("p", "said");
  said.setAttribute("aria-live", "polite");
  const otherwise = element("p", "if");
  const lists = element("div", "lists");
  const sum = element("p", "sum");
  const facts = element("p", "facts");
  panel.append(heading, said, otherwise, lists, sum, facts);
  new ResizeObserver(() => join(lists)).observe(lists);

  return {
    panel,
    /** Show the token at a place; `other` is what `fuse` says of another alpha, or null. */
    show(place, alpha, other) {
      const token = data.tokens[place];
      heading.replaceChildren(
        `Token ${place + 1} of ${data.tokens.length}: `,
        element("bdi", "word", spoken(data.words[token.id])),
      );
      said.replaceChildren(...sentence(data, token));
      otherwise.replaceChildren(...(other ? ifSentence(data, alpha, other) : []));
      lists.replaceChildren(...ROWS.map((row) => list(data, token, row, other)));
      sum.replaceChildren(...addition(token));
      facts.replaceChildren(...factsOf(data, token));
      join(lists);
    },
  };
}

function ifSentence(data, alpha, other) {
  const about = other.isCertain ? "" : "about ";
  return [
    `With alpha ${plain(alpha)}: `,
    quoted(data.words[other.winner]),
    ` (${about}${percent(other.logprobs.get(other.winner))}).`,
  ];
}

function list(data, token, [name, title], other) {
  const best =
    name === "fused" && other
      ? [...other.logprobs].sort((one, two) => two[1] - one[1])
      : token.best[name];
  const shown = best.slice(0, SHOWN);
  if (!shown.some(([id]) => id === token.id)) {
    // So that it can be followed through all four.
    const logprob = name === "fused" && other ? other.logprobs.get(token.id) : token.logprobs[name];
    shown.push([token.id, logprob]);
  }
  const items = shown.map(([id, logprob]) => {
    const bar = element("span", "bar");
    bar.style.setProperty("--share", Math.exp(logprob ?? -Infinity).toFixed(4));
    const item = element(
      "li",
      id === token.id ? "chosen" : "",
      element("bdi", "word", spoken(data.words[id])),
      element("span", "percent", percent(logprob)),
      bar,
    );
    item.dataset.id = id;
    return item;
  });
  return element("section", name, element("h3", "", title), element("ol", "", ...items));
}

/** Join the same tokens of lists that stand beside each other. */
function join(lists) {
  lists.querySelector("svg")?.remove();
  const all = [...lists.querySelectorAll("section")];
  if (!all.length) return;
  const frame = lists.getBoundingClientRect();
  const lines = shape("svg", { "aria-hidden": "true", width: frame.width, height: frame.height });
  for (let n = 1; n < all.length; n++) {
    const [left, right] = [all[n - 1].getBoundingClientRect(), all[n].getBoundingClientRect()];
    if (left.top !== right.top) continue; // in the next row
    for (const item of all[n - 1].querySelectorAll("li")) {
      const same = all[n].querySelector(`li[data-id="${item.dataset.id}"]`);
      if (!same) continue;
      const [from, to] = [item.getBoundingClientRect(), same.getBoundingClientRect()];
      const middle = (box) => box.top + box.height / 2 - frame.top;
      lines.append(
        shape("line", {
          x1: from.right - frame.left + 2,
          y1: middle(from),
          x2: to.left - frame.left - 2,
          y2: middle(to),
          class: item.className,
        }),
      );
    }
  }
  lists.append(lines);
}

/** What was added to the chosen token's logit, and of what. */
function addition(token) {
  const known = token.known.find(([id]) => id === token.id);
  const [, base, expert, anti] = known;
  const w = token.base_weight;
  const weighed = w === 1 ? "" : `${plain(w)} × `;
  const parts = [
    "Added to its logit: ",
    element("strong", "", signed(token.offset)),
    ` = ${plain(token.alpha)} × (expert ${signed(expert)} less ${weighed}anti-expert ${signed(anti)})`,
  ];
  if (w !== 1) parts.push(` less ${plain(1 - w)} × base ${signed(base)}`);
  parts.push(", each the logarithm of its probability.");
  return parts;
}

function factsOf(data, token) {
  const facts = [
    `Moved by ${percent(Math.log(token.moved))} of the probability (KL ${token.kl.toFixed(2)} nats)`,
  ];
  if (token.drafted) facts.push("drafted, and confirmed by all three");
  if (token.guessed) facts.push("the base's server told a part of its row, the rest is a guess");
  if (data.models.expert.vocabulary === "different") {
    facts.push("the pair has other tokens, and is exact about the likeliest only; what it gives sums to no 100%");
  }
  const said = [`${facts.join("; ")}.`];
  for (const [role, words] of Object.entries(token.spelled ?? {})) {
    if (role === "anti_expert" && same(words, token.spelled.expert)) continue;
    const who = role === "expert" ? "The pair" : "The anti-expert";
    said.push(` ${who} spells the word so far: `);
    words.forEach((word, n) => said.push(...(n ? [" · "] : []), element("bdi", "word", spoken(word))));
  }
  return said;
}

function same(words, others) {
  return JSON.stringify(words) === JSON.stringify(others);
}
