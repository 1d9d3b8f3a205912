#!/usr/bin/env node
// voxtral-split MODEL.gguf FOLDER: cut a model into pieces that any web server can hold, with a list of them and their
// hashes. Model.load() takes the list's address.

import { createHash } from "node:crypto";
import { mkdir, open, rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

import { PIECE_BYTES } from "../core/source.js";

const [path, folder, ...rest] = process.argv.slice(2);
if (!folder || rest.length) {
  console.error("usage: voxtral-split MODEL.gguf FOLDER");
  process.exit(2);
}
try {
  console.log(await split(path, folder));
} catch (error) {
  console.error(`voxtral-split: ${error.message}`);
  process.exit(1);
}

async function split(model, to) {
  const file = await open(model);
  const stem = basename(model).replace(/\.gguf$/, "");
  const pieces = [];
  try {
    const room = Buffer.alloc(PIECE_BYTES);
    const start = await file.read(room, 0, 4, 0);
    if (start.bytesRead < 4 || room.toString("latin1", 0, 4) !== "GGUF") throw new Error(`${model} is no GGUF file`);
    await mkdir(to, { recursive: true });
    for (let n; (n = await fill(file, room, pieces.length * PIECE_BYTES)) > 0;) {
      const piece = room.subarray(0, n);
      const name = `${stem}.${String(pieces.length).padStart(4, "0")}.piece`;
      await write(join(to, name), piece);
      pieces.push({ name, bytes: n, sha256: createHash("sha256").update(piece).digest("hex") });
    }
  } finally {
    await file.close();
  }
  const list = join(to, `${stem}.json`); // last: while it is missing nothing is there
  await write(list, `${JSON.stringify({ format: "voxtral-pieces", pieces }, null, 1)}\n`);
  return list;
}

async function fill(file, room, at) {
  let n = 0;
  for (let got; n < room.length && (got = (await file.read(room, n, room.length - n, at + n)).bytesRead) > 0;) n += got;
  return n;
}

async function write(path, data) {
  await writeFile(`${path}.part`, data);
  await rename(`${path}.part`, path);
}
