// What npm's openai does with a server of edgeproxy's: node with_openai.mjs [QUESTION]
// It reads OPENAI_BASE_URL, the server's address with /v1, and OPENAI_API_KEY, and prints JSON.
import OpenAI from "openai";

const question = process.argv[2] ?? "What is the capital of Mongolia?";
const asked = { model: "factbook", temperature: 0 };
const messages = [{ role: "user", content: question }];
const client = new OpenAI({ maxRetries: 0 });

async function chat() {
  const reply = await client.chat.completions.create({ ...asked, messages, seed: 1, stop: ["\n"] });
  return reply.choices[0].message.content;
}

async function stream() {
  let text = "";
  const options = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create({ ...asked, messages, ...options }))
    text += chunk.choices[0]?.delta?.content ?? "";
  return text;
}

async function gathered() {
  const runner = client.chat.completions.stream({ ...asked, messages });
  return (await runner.finalChatCompletion()).choices[0].message.content;
}

async function steered() {
  // alpha is edgeproxy's own: the client sends what it does not know as it is.
  const reply = await client.chat.completions.create({ ...asked, messages, alpha: 0.5 });
  return reply.edgeproxy;
}

async function logprobs() {
  const more = { logprobs: true, top_logprobs: 3 };
  const reply = await client.chat.completions.create({ ...asked, messages, ...more });
  return reply.choices[0].logprobs.content;
}

async function schema() {
  const properties = { capital: { type: "string", maxLength: 40 } };
  const inside = { type: "object", properties, required: ["capital"], additionalProperties: false };
  const reply = await client.chat.completions.parse({
    ...asked,
    messages,
    response_format: { type: "json_schema", json_schema: { name: "one", schema: inside, strict: true } },
  });
  return reply.choices[0].message.parsed;
}

async function completion() {
  const reply = await client.completions.create({ ...asked, prompt: "The capital of", max_tokens: 8 });
  return reply.choices[0].text;
}

async function response() {
  return (await client.responses.create({ ...asked, input: question })).output_text;
}

async function responseStream() {
  const stream = client.responses.stream({ ...asked, input: question });
  return (await stream.finalResponse()).output_text;
}

async function models() {
  const found = [];
  for await (const model of client.models.list()) found.push(model.id);
  return found;
}

async function refused(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
}

async function errors() {
  const stranger = new OpenAI({ apiKey: "a-wrong-key", maxRetries: 0 });
  return {
    key: await refused(stranger.models.list()),
    model: await refused(client.chat.completions.create({ model: "gpt-4o", messages })),
    field: await refused(client.chat.completions.create({ ...asked, messages, colour: "red" })),
  };
}

const parts = {
  chat, stream, gathered, steered, logprobs, schema, completion, response, responseStream, models, errors,
};
const found = {};
for (const [name, part] of Object.entries(parts)) found[name] = await part();
console.log(JSON.stringify(found));
