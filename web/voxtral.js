/**
 * Streaming speech to text in the browser and in node: audio goes in, text comes out while it is spoken, and nothing
 * leaves the machine. Types and their meaning: voxtral.d.ts.
 */

import { start } from "./core/port.js";
import { Store } from "./core/store.js";

export const RATE = 16000; // samples per second, of all audio

export class VoxtralError extends Error {
  constructor({ message, code }) {
    super(message);
    this.name = "VoxtralError";
    this.code = code;
  }
}

export class Model {
  #worker;
  #calls = new Map();
  #streams = new Map();
  #n = 0;
  #onProgress;
  #broken = null;

  static async load(source = new URL("./build/demo.gguf", import.meta.url), { onProgress = () => {}, threads, keep = true, windowS } = {}) {
    const model = new Model();
    model.#onProgress = onProgress;
    model.#worker = start(new URL("./core/worker.js", import.meta.url), (data) => model.#hear(data), (error) =>
      model.#end(new VoxtralError({ message: error.message, code: "compute" })));
    try {
      const from = source instanceof URL ? source.href : source;
      Object.assign(model, await model.#ask("load", { source: absolute(from), threads, keep, windowS }));
    } catch (error) {
      model.close();
      throw error;
    }
    return model;
  }

  static clearStored() {
    return Store.clear();
  }

  stream(options = {}) {
    const id = ++this.#n;
    const stream = new Stream((method, more, transfer) => this.#ask(method, { id, ...more }, transfer), options);
    this.#streams.set(id, stream);
    return stream;
  }

  async transcribe(samples, options) {
    const stream = this.stream(options);
    try {
      await stream.feed(samples);
      await stream.finish();
      let text = "";
      for await (const piece of stream) text += piece.text;
      return text;
    } finally {
      stream.close();
    }
  }

  memory() {
    return this.#ask("memory");
  }

  close() {
    this.#end(new VoxtralError({ message: "the model is closed", code: "state" }));
  }

  #ask(method, options, transfer) {
    if (this.#broken) return Promise.reject(this.#broken);
    return new Promise((resolve, reject) => {
      const call = ++this.#n;
      this.#calls.set(call, { resolve, reject });
      this.#worker.postMessage({ call, method, options }, transfer);
    });
  }

  #hear({ call, result, error, progress, stream, pieces, isOver }) {
    if (progress) this.#onProgress(progress);
    else if (stream) {
      this.#streams.get(stream)?._take(pieces, isOver, error && new VoxtralError(error));
      if (isOver) this.#streams.delete(stream);
    } else {
      const { resolve, reject } = this.#calls.get(call);
      this.#calls.delete(call);
      if (error) reject(new VoxtralError(error));
      else resolve(result);
    }
  }

  #end(error) {
    if (this.#broken) return;
    this.#broken = error;
    this.#worker.terminate();
    for (const { reject } of this.#calls.values()) reject(error);
    for (const stream of this.#streams.values()) stream._take([], true, error);
  }
}

export class Stream {
  #ask;
  #opened;
  #pieces = [];
  #isOver = false;
  #error = null;
  #waiting = [];

  constructor(ask, options) {
    this.#ask = ask;
    this.#opened = ask("open", options);
    this.#opened.catch((error) => this._take([], true, error));
  }

  async feed(samples) {
    if (!(samples instanceof Float32Array) && !(samples instanceof Int16Array)) {
      throw new TypeError("audio is a Float32Array of -1 to 1 or an Int16Array, of one channel at 16 kHz");
    }
    const floats = samples instanceof Int16Array ? Float32Array.from(samples, (x) => x / 32768) : samples.slice();
    await this.#opened;
    await this.#ask("feed", { samples: floats }, [floats.buffer]);
  }

  async finish() {
    await this.#opened;
    await this.#ask("finish");
  }

  close() {
    this.#ask("close").catch(() => {});
    this._take([], true);
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#pieces.length) yield this.#pieces.shift();
      if (this.#error) throw this.#error;
      if (this.#isOver) return;
      await new Promise((done) => this.#waiting.push(done));
    }
  }

  // The model's: what has come.
  _take(pieces, isOver, error = null) {
    this.#pieces.push(...pieces);
    this.#error ??= error;
    this.#isOver ||= isOver;
    for (const done of this.#waiting.splice(0)) done();
  }
}

// A page's addresses are relative to the page, not to the worker.
function absolute(source) {
  const base = globalThis.document?.baseURI;
  return typeof source === "string" && base ? new URL(source, base).href : source;
}
