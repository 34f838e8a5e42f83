// A safe subset of Markdown: paragraphs, headings, lists, code and emphasis, made as elements.
// Links and images stay the text that they are, so nothing is loaded.

import { element } from "./explain/dom.js";
import { withoutTurns } from "./explain/words.js";

const FENCE = /^\s*(```+|~~~+)/;
const ITEM = /^\s*(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const HEADING = /^#{1,6}\s+(.*)$/;
const INLINE = /`([^`]+)`|\*\*(\S(?:.*?\S)?)\*\*|\*(\S(?:.*?\S)?)\*|(?<!\w)_(\S(?:.*?\S)?)_(?!\w)/;

/** The elements of a text. */
export function markdown(text) {
  const blocks = [];
  let fence = null; // what ends the code under way
  let open = null; // the element that a line would go on with
  const add = (block) => {
    block.dir = "auto";
    blocks.push(block);
    return block;
  };
  for (const line of withoutTurns(text).split("\n")) {
    const found = FENCE.exec(line);
    if (fence) {
      if (found && line.trim() === fence) [fence, open] = [null, null];
      else open.append(`${line}\n`);
    } else if (found) {
      fence = found[1];
      open = add(element("pre")).appendChild(element("code"));
    } else if (ITEM.test(line)) {
      const [, number, words] = ITEM.exec(line);
      const tag = number ? "OL" : "UL";
      let list = open?.parentElement;
      if (list?.tagName !== tag) {
        list = add(element(tag));
        if (number) list.start = number;
      }
      open = list.appendChild(element("li", "", ...inline(words)));
    } else if (HEADING.test(line)) {
      add(element("p", "", element("strong", "", ...inline(HEADING.exec(line)[1]))));
      open = null;
    } else if (!line.trim()) {
      // A list goes on behind an empty line, a paragraph does not.
      if (open?.tagName !== "LI") open = null;
    } else if (open && (open.tagName !== "LI" || /^\s/.test(line))) {
      open.append("\n", ...inline(line.trim()));
    } else {
      open = add(element("p", "", ...inline(line)));
    }
  }
  return blocks;
}

function inline(text) {
  const parts = [];
  for (let found; (found = INLINE.exec(text)); text = text.slice(found.index + found[0].length)) {
    const [, code, strong, ...weak] = found;
    parts.push(text.slice(0, found.index));
    if (code) parts.push(element("code", "", code));
    else parts.push(element(strong ? "strong" : "em", "", ...inline(strong ?? weak.find(Boolean))));
  }
  return [...parts, text];
}
