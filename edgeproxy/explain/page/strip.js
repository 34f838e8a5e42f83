// The strip above the reply: one column a token, in the colours of the text.

import { element } from "./dom.js";

/** A strip of so many columns; `choose` is called with the number of one that was pointed at. */
export function makeStrip(count, choose) {
  // The text has the same tokens for whoever does not see it or has no pointer.
  const strip = element("div", "strip");
  strip.setAttribute("aria-hidden", "true");
  const columns = Array.from({ length: count }, () => element("i"));
  strip.append(...columns);
  strip.addEventListener("click", (event) => {
    const place = columns.indexOf(event.target);
    if (place >= 0) choose(place);
  });
  return {
    strip,
    /** Draw a column: the step of how far it moved, and what else is to be marked. */
    paint(place, level, isOtherwise, isCurrent) {
      columns[place].className =
        `level-${level}${isOtherwise ? " otherwise" : ""}${isCurrent ? " current" : ""}`;
    },
  };
}
