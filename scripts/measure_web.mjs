// Measure the browser's build in node, one thread: node scripts/measure_web.mjs [SECONDS] [MODEL.gguf]
//
// After `make web`. Recordings of samples/, joined and repeated to so many seconds (60), are fed to two streams one
// after the other: as fast as they are taken, and in chunks of 480 ms, each when the one before is done. Printed: the
// time each took over the audio's (RTF), the memory that model and stream hold, and how long the model took to load.
import { readFile } from "node:fs/promises";
import { Model } from "../web/voxtral.js";

const [seconds = "60", path] = process.argv.slice(2);
const names = ["digits_1", "order_1", "sentence_1", "digits_2"];
const clips = await Promise.all(names.map(async (name) => {
  const wav = await readFile(new URL(`../samples/${name}.wav`, import.meta.url));
  return new Int16Array(wav.buffer.slice(wav.byteOffset + 44, wav.byteOffset + wav.length));
}));
const RATE = 16000, CHUNK = 0.48 * RATE;
const samples = new Int16Array(Number(seconds) * RATE);
for (let at = 0, i = 0; at < samples.length; at += clips[i++ % clips.length].length) {
  samples.set(clips[i % clips.length].subarray(0, samples.length - at), at);
}

const begun = performance.now();
const model = await Model.load(path);
console.log(`${model.kernels}, loaded in ${(performance.now() - begun).toFixed(0)} ms`);
for (const [name, size] of [["offline", samples.length], ["live, 480 ms", CHUNK]]) {
  const stream = model.stream({ delayMs: 480 });
  const from = performance.now();
  for (let at = 0; at < samples.length; at += size) await stream.feed(samples.subarray(at, at + size));
  stream.finish();
  let n = 0;
  for await (const piece of stream) n += piece.text.length;
  const took = (performance.now() - from) / 1000;
  const megabytes = (await model.memory()) / 1e6;
  console.log(`${name}: RTF ${(took / seconds).toFixed(4)}, ${megabytes.toFixed(0)} MB, ${n} characters`);
  await stream.close();
}
model.close();
