// A conversation as a file: JSON, or Markdown.

import { element } from "./explain/dom.js";
import { titleOf } from "./replies.js";

/** Let the browser save what is said in `path`, as "json" or "md". */
export function saveAs(kind, trio, system, path) {
  const text = kind === "json" ? asJson(trio, system, path) : asMarkdown(trio, system, path);
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = `conversation-${new Date().toISOString().slice(0, 10)}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function asJson(trio, system, path) {
  const messages = path.map(({ role, text, parts }) => {
    if (!parts) return { role, content: text };
    return { role, content: parts.at(-1).text, replies: parts };
  });
  if (system) messages.unshift({ role: "system", content: system });
  return JSON.stringify({ form: "edgeproxy-conversation", version: 1, trio, messages }, null, 2);
}

function asMarkdown(trio, system, path) {
  const said = [`# A conversation with ${trio}`];
  if (system) said.push("**System**", system);
  for (const { text, parts } of path) {
    if (!parts) said.push("**You**", text);
    else for (const part of parts) said.push(`**${titleOf(part)}**`, part.text);
  }
  return `${said.join("\n\n")}\n`;
}
