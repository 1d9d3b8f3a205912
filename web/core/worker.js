// The thread that computes: one model and its streams, as voxtral.js asks for them.

import { load } from "./load.js";
import { bestBuild, canShare, Core } from "./module.js";
import { breathe, hear, readAsset, start, tell } from "./port.js";
import { open } from "./source.js";
import { Store } from "./store.js";

const SLOT_MS = 80, RATE = 16000;
const MOST_WAITING = 10 * RATE; // samples of a stream that were not computed; beyond it who feeds is made to wait
const SLICE_MS = 40; // of computing without a look at messages
const BYTES_PER_THREAD = 2 ** 26, MOST_THREADS = 32; // as in csrc/model.c
const MOST_SLOTS = 2 ** 20; // of a window: as in csrc/model.c
const MOST_BYTES = 2 ** 32; // addresses have 32 bits
const STATUS = { SLOT: 1, DONE: 3 };
const CODES = { [-1]: "argument", [-2]: "state", [-3]: "io", [-4]: "format", [-5]: "memory", [-6]: "compute" };

let core, model, hasWork = false, isPumping = false;
const streams = new Map(); // id -> { handle, waiting: [{ resolve }] }

class CoreError extends Error {
  constructor(status, text) {
    super(text);
    this.code = CODES[status];
  }
}

async function loadModel({ source, threads, keep, windowS }) {
  if (windowS !== undefined && !(windowS >= SLOT_MS / 1000)) throw new CoreError(-1, "a window has 0.08 s or more");
  const { bytes, pieces } = await open(source);
  const processors = globalThis.navigator?.hardwareConcurrency ?? 1, worthwhile = 1 + Math.floor(bytes / BYTES_PER_THREAD);
  const n = canShare() ? Math.min(threads ?? Math.min(processors, worthwhile), MOST_THREADS) : 1;
  const name = bestBuild(n);
  core = await Core.load(await readAsset(new URL(`../build/voxtral-${name}.wasm`, import.meta.url)), n, (data) =>
    start(new URL("./thread.js", import.meta.url), () => {}, (error) => { throw error; }).postMessage(data));
  const place = bytes < MOST_BYTES ? core.c.file(bytes) : 0;
  if (!place) throw new CoreError(-5, `there is no room for a model of ${(bytes / 1e9).toFixed(1)} GB`);
  await load({ pieces }, (at, n_bytes) => core.bytes(place + at, n_bytes), keep ? await Store.open() : null,
    progress(bytes));
  model = core.c.model_open(n, windowS === undefined ? 0 : Math.round(Math.min(windowS * 1000 / SLOT_MS, MOST_SLOTS)));
  if (!model) fail();
  const text = (which) => core.text(core.c.model_text(model, which));
  const number = (which) => core.c.model_number(model, which);
  return {
    name: text(0), description: text(1), fileType: text(2), kernels: text(3),
    nParams: number(0), nBytes: number(1), defaultDelayMs: number(2), threads: n,
  };
}

// Told at most every hundredth.
function progress(total) {
  let told = 0;
  return (loaded) => {
    if (loaded < total && loaded - told < total / 100) return;
    told = loaded;
    tell({ progress: { loaded, total } });
  };
}

function fail(stream = 0) {
  throw new CoreError(core.c.status(), core.text(core.c.message(stream)));
}

// Words as the core takes them: one a line, and a zero.
function lines(words) {
  const isWord = (word) => typeof word === "string" && !/[\p{C}\p{Zl}\p{Zp}]/u.test(word);
  if (!Array.isArray(words) || !words.every(isWord)) {
    throw new CoreError(-1, "words are a list of texts, each of a word or a name that can be printed");
  }
  return new TextEncoder().encode(`${words.join("\n")}\0`);
}

const methods = {
  load: loadModel,

  open({ id, delayMs = 0, silenceGateMs = 0, padGuardMs = 0, confidence = false, words = [], wordsBonus = 0, gain = 0 }) {
    const list = lines(words), isAuto = gain === "auto", at = core.c.allocate(list.length);
    if (!at) throw new CoreError(-5, "out of memory: so many words do not fit");
    core.bytes(at, list.length).set(list);
    const handle = core.c.stream_open(model, delayMs, silenceGateMs, padGuardMs, confidence, isAuto, isAuto ? 0 : gain,
      wordsBonus, at);
    core.c.release(at);
    if (!handle) fail();
    streams.set(id, { handle, waiting: [] });
  },

  async feed({ id, samples }) {
    const stream = streams.get(id);
    const at = core.c.allocate(samples.byteLength);
    if (!at) throw new CoreError(-5, "out of memory: this much audio does not fit");
    core.bytes(at, samples.byteLength).set(new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength));
    const status = core.c.stream_push(stream.handle, at, samples.length);
    core.c.release(at);
    if (status < 0) fail(stream.handle);
    pump();
    if (core.c.stream_pending(stream.handle) > MOST_WAITING) await new Promise((done) => stream.waiting.push(done));
  },

  finish({ id }) {
    const { handle } = streams.get(id);
    if (core.c.stream_finish(handle) < 0) fail(handle);
    pump();
  },

  close({ id }) {
    const stream = streams.get(id);
    streams.delete(id);
    if (!stream) return;
    core.c.stream_close(stream.handle);
    for (const done of stream.waiting) done();
  },

  memory: () => core.memory.buffer.byteLength,
};

// Computes what there is audio for, in turn for all streams, and lets messages in between.
async function pump() {
  hasWork = true; // a message may say so while this one waits for messages
  if (isPumping) return;
  isPumping = true;
  while (hasWork) {
    hasWork = false;
    for (const [id, stream] of streams) hasWork = advance(id, stream, performance.now() + SLICE_MS) || hasWork;
    await breathe();
  }
  isPumping = false;
}

// Whether there may be more.
function advance(id, stream, end) {
  if (stream.isOver) return false;
  const pieces = [];
  let status;
  while ((status = core.c.stream_next(stream.handle)) === STATUS.SLOT) {
    const slot = (which) => core.c.slot_number(which);
    if (slot(4) > 0) {
      const startMs = slot(0) * SLOT_MS;
      const piece = { text: core.text(slot(3), slot(4)), token: slot(1), startMs, endMs: startMs + SLOT_MS };
      if (slot(2) > 0) piece.confidence = slot(2); // else it was not asked for, or its token never has text
      pieces.push(piece);
    }
    if (performance.now() > end) break;
  }
  stream.isOver = status === STATUS.DONE || status < 0;
  const error = status < 0 ? { message: core.text(core.c.message(stream.handle)), code: CODES[status] } : undefined;
  if (pieces.length || stream.isOver) tell({ stream: id, pieces, isOver: stream.isOver, error });
  if (stream.isOver || core.c.stream_pending(stream.handle) <= MOST_WAITING) {
    for (const done of stream.waiting.splice(0)) done();
  }
  return status === STATUS.SLOT;
}

hear(async ({ call, method, options }) => {
  try {
    tell({ call, result: await methods[method](options) });
  } catch (error) {
    tell({ call, error: { message: error.message, code: error instanceof CoreError ? error.code : "io" } });
  }
});
