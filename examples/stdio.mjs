// Ask a trio a question, and print the answer as it comes: node stdio.mjs [QUESTION [COMMAND...]]
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const [question = "What is the capital of Mongolia?", ...given] = process.argv.slice(2);
const [program, ...options] = given.length > 0 ? given : ["edgeproxy", "serve", "--stdio"];

// What it complains of goes to this program's standard error. It ends when this program does.
const edgeproxy = spawn(program, options, { stdio: ["pipe", "pipe", "inherit"] });
edgeproxy.on("error", (error) => fail(`${program} cannot be started: ${error.message}`));
edgeproxy.on("close", (code, signal) => fail(`${program} has ended: ${signal ?? code}`));
edgeproxy.stdin.on("error", () => {}); // it has ended, which "close" tells
let isDone = false;

function fail(what) {
  if (isDone) return;
  isDone = true;
  console.error(what);
  process.exitCode = 1;
}

for await (const line of createInterface({ input: edgeproxy.stdout })) {
  const { event, data } = JSON.parse(line);
  if (event === "ready") {
    const body = { messages: [{ role: "user", content: question }], stream: true };
    edgeproxy.stdin.write(JSON.stringify({ id: "1", do: "chat", body }) + "\n");
  } else if (event === "chunk") {
    process.stdout.write(data.choices[0]?.delta?.content ?? "");
  } else if (event === "done" || event === "error") {
    if (event === "error") fail(data.error.message);
    else console.log();
    isDone = true;
    edgeproxy.stdin.end(); // the end of its input is its end
  }
}
