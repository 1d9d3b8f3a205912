// Brings the pieces of a model into memory: from where they are kept, or from where they come, and then they are kept.

import { Store } from "./store.js";

/**
 * view(at, n): memory for n bytes from byte `at` of the file. progress(bytes) is told how many are there. A piece that
 * is not what its hash says is fetched again, once, if it had been kept, else that is an error.
 */
export async function load({ pieces }, view, store, progress) {
  let at = 0;
  for (const piece of pieces) {
    const kept = piece.name && store ? await store.find(piece.name, piece.bytes) : null;
    const place = { view, at, progress };
    if (!kept || !(await copy(kept.stream(), piece, place))) {
      if (kept) await store.remove(piece.name);
      await bring(piece, place, store);
    }
    at += piece.bytes;
  }
}

async function bring(piece, place, store) {
  let part = piece.name && store ? await store.resume(piece.name) : null;
  try {
    if (part?.bytes > piece.bytes) part.drop();
    const have = part?.bytes ?? 0;
    part?.read(place.view(place.at, have));
    const isRight = await copy(have < piece.bytes ? piece.read(have) : [], piece, place, have, (chunk) => {
      try {
        part?.add(chunk);
      } catch { // there is no room to keep it
        part.drop();
        part.close();
        part = null;
      }
    });
    if (!isRight) {
      part?.drop();
      throw new Error("the model is damaged: a piece is not what its hash says; load it again");
    }
    await part?.keep();
    part = null;
  } finally {
    part?.close();
  }
}

async function copy(chunks, piece, { view, at, progress }, have = 0, keep = () => {}) {
  for await (const chunk of iterated(chunks)) {
    if (have + chunk.length > piece.bytes) throw new Error("the model is longer than it was said to be");
    view(at + have, chunk.length).set(chunk);
    keep(chunk);
    have += chunk.length;
    progress(at + have);
  }
  if (have < piece.bytes) throw new Error("the model was cut short on its way: load it again, it goes on where it was");
  return !piece.sha256 || (await Store.hash(view(at, have).slice())) === piece.sha256;
}

async function* iterated(chunks) {
  if (!chunks.getReader) {
    yield* chunks;
    return;
  }
  const reader = chunks.getReader(); // not every engine iterates over streams
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
