// Threads of a page and of node, as the one thing that both of them are: something that takes messages and gives some.

export const isNode = typeof process !== "undefined" && Boolean(process.versions?.node);
const threads = isNode ? await import("node:worker_threads") : null;

/** Starts a module in a thread; listen(message) hears it, fail(error) what it dies of. */
export function start(url, listen, fail) {
  if (threads) {
    const worker = new threads.Worker(url);
    worker.on("message", listen);
    worker.on("error", fail);
    return worker;
  }
  const worker = new Worker(url, { type: "module" });
  worker.onmessage = ({ data }) => listen(data);
  worker.onerror = (event) => fail(new Error(event.message ?? "a worker could not be started"));
  return worker;
}

/** In such a thread: hears its owner. */
export function hear(listen) {
  if (threads) threads.parentPort.on("message", listen);
  else globalThis.onmessage = ({ data }) => listen(data);
}

/** In such a thread: tells its owner. */
export function tell(message) {
  (threads?.parentPort ?? globalThis).postMessage(message);
}

const { port1, port2 } = new MessageChannel();
const waiting = [];
port1.onmessage = () => waiting.shift()();
if (isNode) port1.unref();

/** Lets messages in; unlike a timer of nought it does not wait. */
export function breathe() {
  return new Promise((done) => {
    waiting.push(done);
    if (isNode) port1.ref();
    port2.postMessage(0);
  }).then(() => { if (isNode && waiting.length === 0) port1.unref(); });
}

/** Bytes of a file beside the modules. */
export async function readAsset(url) {
  if (isNode && url.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    return readFile(url);
  }
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be had: ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}
