// What the build for browsers makes of audio, as JSON; tests compare it with the native program.
// node tests/web_run.mjs {"model":PATH,"load":{},"chunk":SAMPLES,"options":{},"files":[floats]}
import { readFile } from "node:fs/promises";

import { Model } from "../web/voxtral.js";

const { model: source, load, chunk, options, files } = JSON.parse(process.argv[2]);
const model = await Model.load(source ?? undefined, load);
const found = [];
for (const file of files) {
  const bytes = await readFile(file);
  const samples = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const stream = model.stream(options);
  const fed = (async () => {
    for (let at = 0; at < samples.length; at += chunk) await stream.feed(samples.subarray(at, at + chunk));
    await stream.finish();
  })();
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  await fed;
  found.push(pieces);
}
console.log(JSON.stringify({ ...model, memory: await model.memory(), found }));
model.close();
