// Ask a question without any package, and print the answer as it comes: node with_fetch.mjs [QUESTION]
// OPENAI_BASE_URL is the server's address with /v1, OPENAI_API_KEY its key.
const { OPENAI_BASE_URL: url, OPENAI_API_KEY: key } = process.env;
const question = process.argv[2] ?? "What is the capital of Mongolia?";

const answer = await fetch(`${url}/chat/completions`, {
  method: "POST",
  headers: { "Authorization": `Bearer ${key}`, "Content-Type": "application/json" },
  body: JSON.stringify({ messages: [{ role: "user", content: question }], stream: true }),
});
if (!answer.ok) {
  console.error((await answer.json()).error.message);
  process.exit(1);
}

let rest = "";
for await (const bytes of answer.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + bytes).split("\n");
  rest = lines.pop(); // a line may come in parts
  for (const line of lines) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    const said = JSON.parse(line.slice("data: ".length));
    if (said.error) throw new Error(said.error.message);
    process.stdout.write(said.choices[0]?.delta?.content ?? "");
  }
}
console.log();
