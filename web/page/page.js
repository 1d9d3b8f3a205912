// Captions of the microphone or of a recording, by the model in this page.
import { Model, RATE } from "../voxtral.js";

const get = (id) => document.getElementById(id);
const captions = get("captions"), speak = get("speak");
const GIB = 2 ** 30, MOST_BYTES = 3.5 * GIB; // of a model: rings and all else need the rest of 4 GiB
const WHOLE_BYTES = 3e9, WINDOW_S = 120; // of larger ones the whole window has no room, so much has
const TRIAL_S = 4; // of silence, by which the speed of this machine is told

let model = null, speed = null; // speed: { rtf, bytes } of the embedded model, once it was measured
let live = null; // { context, media, stream } while somebody speaks

const say = (text) => { get("status").textContent = text; };

async function use(source, name, windowS) {
  const old = model;
  enable(false);
  say(`Loading ${name}.`);
  get("progress").hidden = false;
  try {
    const onProgress = ({ loaded, total }) => { get("progress").value = loaded / total; };
    model = await Model.load(source, { onProgress, windowS });
    old?.close();
    get("model").textContent = `${model.name}: ${model.description}`;
    say("Speak, or drop a recording here.");
  } catch (error) {
    say(`This does not work: ${error.message}`);
  }
  get("progress").hidden = true;
  enable(model !== null);
}

function enable(can) {
  speak.disabled = get("file").disabled = !can;
}

// ---- a model of one's own: what is said before it is loaded

async function offer(file) {
  const size = `${file.name} has ${(file.size / GIB).toFixed(2)} GiB`;
  const fits = file.size <= MOST_BYTES, windowS = file.size > WHOLE_BYTES ? WINDOW_S : undefined;
  get("offer").hidden = false;
  get("take").hidden = !fits;
  get("take").onclick = () => {
    get("offer").hidden = true;
    use(file, file.name, windowS);
  };
  const tell = (text) => { get("offer").firstElementChild.textContent = text; };
  if (!fits) {
    tell(`${size} and does not fit: a page has room for models of ${MOST_BYTES / GIB} GiB.`);
    return;
  }
  const room = `${size} and fits, if this machine has as much memory free${windowS ? `; it will remember ${windowS} s only` : ""}.`;
  tell(room);
  speed ??= await measure();
  const rtf = speed.rtf * file.size / speed.bytes;
  const pace = rtf < 1 ? `a minute of speech would take about ${Math.max(1, Math.round(60 * rtf))} s`
    : `it would be about ${rtf.toFixed(1)} times too slow for live speech`;
  tell(`${room} By the speed of the embedded model, ${pace}.`);
}

async function measure() {
  const trial = await Model.load();
  const begin = performance.now();
  await trial.transcribe(new Float32Array(TRIAL_S * RATE));
  const rtf = (performance.now() - begin) / 1000 / TRIAL_S;
  trial.close();
  return { rtf, bytes: trial.nBytes };
}

// ---- captions

const delay = () => ({ delayMs: Number(get("delay").value) });

async function show(stream) {
  const shown = document.createElement("div");
  captions.append(shown);
  for await (const piece of stream) {
    const text = shown.textContent ? piece.text : piece.text.trimStart();
    shown.append(text);
    captions.scrollTop = captions.scrollHeight;
    get("save").disabled = get("clear").disabled = false;
  }
}

async function start() {
  const stream = model.stream(delay());
  live = { stream, context: new AudioContext({ sampleRate: RATE }) };
  const opened = live;
  speak.classList.add("on");
  speak.textContent = "Stop";
  say("Opening the microphone.");
  try {
    opened.media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    await opened.context.audioWorklet.addModule(new URL("../build/worklet.js", import.meta.url));
    const tap = new AudioWorkletNode(opened.context, "tap");
    tap.port.onmessage = ({ data }) => hear(opened, data);
    opened.context.createMediaStreamSource(opened.media).connect(tap);
    await opened.context.resume();
    say("Listening.");
    await show(stream);
    say("Done.");
  } catch (error) {
    say(`This does not work: ${error.message}`);
  }
  stop(opened);
}

function hear({ stream }, samples) {
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1e-9);
  get("level").style.width = `${Math.max(0, 100 + (100 / 60) * 20 * Math.log10(peak))}%`;
  stream.feed(samples).catch(() => {}); // what is wrong with it ends the iteration
}

function stop(opened) {
  opened.media?.getTracks().forEach((track) => track.stop());
  if (opened.context.state !== "closed") opened.context.close();
  get("level").style.width = "0";
  speak.classList.remove("on");
  speak.textContent = "Speak";
  live = null;
}

speak.addEventListener("click", () => {
  if (!live) {
    start();
    return;
  }
  const { stream } = live;
  say("Last words.");
  stop(live);
  stream.finish().catch(() => {});
});

async function transcribe(file) {
  if (!model) return;
  say(`Transcribing ${file.name}.`);
  try {
    const samples = await decode(file);
    const begin = performance.now();
    const stream = model.stream(delay());
    stream.feed(samples).then(() => stream.finish(), () => {});
    await show(stream);
    const seconds = (performance.now() - begin) / 1000;
    say(`${file.name}: ${(samples.length / RATE).toFixed(1)} s of audio in ${seconds.toFixed(1)} s.`);
  } catch (error) {
    say(`This does not work: ${error.message}`);
  }
}

// Whatever the browser can play, at the model's rate, its channels mixed.
async function decode(file) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const audio = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Error(`${file.name} holds no audio that this browser can play`);
  });
  const mixed = audio.getChannelData(0).slice();
  for (let channel = 1; channel < audio.numberOfChannels; channel++) {
    audio.getChannelData(channel).forEach((sample, i) => { mixed[i] += sample; });
  }
  return audio.numberOfChannels > 1 ? mixed.map((sample) => sample / audio.numberOfChannels) : mixed;
}

// ---- the rest of the page

function take(file) {
  if (!file) return;
  if (file.name.endsWith(".gguf")) offer(file);
  else transcribe(file);
}

for (const id of ["file", "own"]) {
  get(id).addEventListener("change", ({ target }) => {
    take(target.files[0]);
    target.value = "";
  });
}
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    captions.classList.toggle("over", over);
    if (name === "drop") take(event.dataTransfer.files[0]);
  });
}

get("save").addEventListener("click", () => {
  const link = document.createElement("a");
  const lines = Array.from(captions.children, (shown) => shown.textContent).filter(Boolean);
  link.href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/plain" }));
  link.download = "captions.txt";
  link.click();
  URL.revokeObjectURL(link.href);
});
get("clear").addEventListener("click", () => {
  captions.replaceChildren();
  get("save").disabled = get("clear").disabled = true;
});
get("controls").addEventListener("submit", (event) => event.preventDefault());

use(undefined, "the embedded model");
