// Where the bytes of a model come from, as pieces of one file that are read one after the other.

import { isNode } from "./port.js";
import { Store } from "./store.js";

export const PIECE_BYTES = 64 << 20;

/**
 * source: a Blob, bytes, or the address of a GGUF file or of a list of its pieces (a .json that bin/split.js writes).
 * Gives { bytes, pieces: [{ bytes, sha256, read(from) }] }: read() streams a piece from a byte of it on; sha256, a hex
 * string, may be missing. What has an address may be kept by a Store, under the piece's name.
 */
export async function open(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) source = new Blob([source]);
  if (isNode && typeof source === "string" && !/^(https?|file|data|blob):/.test(source)) {
    source = (await import("node:url")).pathToFileURL(source).href;
  }
  if (isNode && String(source).startsWith("file:")) source = await openFile(new URL(source));
  if (source instanceof Blob) return fromBlob(source);
  if (source?.pieces) return source;
  const url = new URL(source, globalThis.location?.href);
  return url.pathname.endsWith(".json") ? fromList(await (await get(url)).json(), url) : fromAddress(url);
}

async function openFile(url) {
  const { openAsBlob, promises } = await import("node:fs");
  await promises.access(url).catch(() => { throw new Error(`${url.pathname} cannot be read`); });
  if (!url.pathname.endsWith(".json")) return openAsBlob(url);
  const list = JSON.parse(await promises.readFile(url, "utf8"));
  const blobs = list.pieces.map(({ name }) => openAsBlob(new URL(name, url)));
  return checked(list, await Promise.all(blobs).then((all) => all.map((blob) => (from) => blob.slice(from).stream())));
}

function fromBlob(blob) {
  const pieces = [];
  for (let at = 0; at < blob.size; at += PIECE_BYTES) {
    const piece = blob.slice(at, at + PIECE_BYTES);
    pieces.push({ bytes: piece.size, read: (from) => piece.slice(from).stream() });
  }
  return { bytes: blob.size, pieces };
}

function fromList(list, url) {
  return checked(list, list.pieces.map(({ name }) => (from) => stream(new URL(name, url), from)));
}

function checked(list, reads) {
  if (list.format !== "voxtral-pieces" || !Array.isArray(list.pieces)) {
    throw new Error("this list names no pieces of a model: make one with voxtral-split");
  }
  const pieces = list.pieces.map(({ bytes, sha256 }, i) => ({ bytes, sha256, name: sha256, read: reads[i] }));
  return { bytes: pieces.reduce((sum, piece) => sum + piece.bytes, 0), pieces };
}

// One file: what it is now is told by its size and its tag, so that pieces of another version are never mixed.
async function fromAddress(url) {
  const { headers } = await get(url, { method: "HEAD" });
  const bytes = Number(headers.get("content-length")), version = headers.get("etag") ?? headers.get("last-modified");
  if (!bytes) throw new Error(`${url} does not say how large it is: name a list of pieces (voxtral-split)`);
  const pieces = [];
  for (let at = 0; at < bytes; at += PIECE_BYTES) {
    const piece = { bytes: Math.min(PIECE_BYTES, bytes - at) };
    piece.read = (from) => stream(url, at + from, at + piece.bytes, bytes, version);
    if (version) piece.name = await Store.hash(new TextEncoder().encode(`${url} ${version} ${bytes} ${at}`));
    pieces.push(piece);
  }
  return { bytes, pieces };
}

async function get(url, options) {
  const answer = await fetch(url, options);
  if (!answer.ok) throw new Error(`${url} cannot be had: ${answer.status} ${answer.statusText}`.trim());
  return answer;
}

async function* stream(url, from, to, whole, version) {
  const isAll = from === 0 && (to === undefined || to === whole);
  const range = isAll ? {} : { range: `bytes=${from}-${to === undefined ? "" : to - 1}` };
  const answer = await get(url, { headers: range });
  if (!isAll && answer.status !== 206) {
    throw new Error(`${url} cannot be had in parts: name a list of pieces (voxtral-split)`);
  }
  const now = answer.headers.get("etag") ?? answer.headers.get("last-modified");
  if (version && now !== version) throw new Error(`${url} has changed meanwhile: load it again`);
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
