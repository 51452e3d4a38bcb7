// Asks a sandbox for videos through the published package, and is called back; prints what it saw as JSON.
// Usage: node videos.mjs BASE_URL API_KEY WEBHOOK_SECRET

import { createHash, webcrypto } from "node:crypto";
import { File } from "node:buffer";
import { once } from "node:events";
import { createServer } from "node:http";

// Global since Node 20; the package needs both.
globalThis.crypto ??= webcrypto;
globalThis.File ??= File;
const { default: OpenAI, toFile } = await import("openai");

const [baseUrl, apiKey, webhookSecret] = process.argv.slice(2);
const client = new OpenAI({ apiKey, webhookSecret, baseURL: `${baseUrl}/v1`, maxRetries: 0 });

const heard = [];
const hook = createServer(async (request, response) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  heard.push({ headers: request.headers, body: Buffer.concat(pieces).toString() });
  response.end();
  hook.emit("heard");
});
hook.listen(0, "127.0.0.1");
await once(hook, "listening");
await fetch(`${baseUrl}/_sandbox/webhook`, {
  method: "POST",
  body: JSON.stringify({ url: `http://127.0.0.1:${hook.address().port}/`, secrets: [webhookSecret] }),
});

async function finished(id) {
  for (;;) {
    const { data: video, response } = await client.videos.retrieve(id).withResponse();
    if (video.status !== "queued" && video.status !== "in_progress") return video;
    await new Promise((resolve) => setTimeout(resolve, Number(response.headers.get("openai-poll-after-ms"))));
  }
}

async function downloaded(id, variant) {
  const response = await client.videos.downloadContent(id, { variant });
  const content = Buffer.from(await response.arrayBuffer());
  const sha256 = createHash("sha256").update(content).digest("hex");
  return { sha256, type: response.headers.get("content-type") };
}

async function refused(asking) {
  try {
    await asking;
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
  return null;
}

const created = await client.videos.create({ prompt: "Rain on a roof.", seconds: "8", size: "1280x720" });
const reference = await toFile(Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), "roof.png", { type: "image/png" });
const referred = await client.videos.create({ prompt: "Snow on it.", input_reference: reference });
const done = await finished(created.id);
await finished(referred.id);

const files = {};
for (const variant of ["video", "thumbnail", "spritesheet"]) files[variant] = await downloaded(done.id, variant);

const remixed = await client.videos.remix(done.id, { prompt: "The same at night." });
await finished(remixed.id);

const listed = [];
for await (const video of client.videos.list({ limit: 1, order: "asc" })) listed.push(video.id);

const deleted = await client.videos.delete(remixed.id);
const refusals = {
  gone: await refused(client.videos.retrieve(remixed.id)),
  long: await refused(client.videos.create({ prompt: "x".repeat(32001) })),
  seconds: await refused(client.videos.create({ prompt: "x", seconds: "5" })),
};

while (heard.length < 3) await once(hook, "heard");
hook.close();
const events = [];
for (const { body, headers } of heard) events.push(await client.webhooks.unwrap(body, headers));
const forged = await refused(client.webhooks.unwrap(`${heard[0].body} `, heard[0].headers));

console.log(JSON.stringify({ created, referred, done, files, remixed, listed, deleted, refusals, events, forged }));
