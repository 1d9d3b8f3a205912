// Captions of the microphone, over the realtime protocol, or of a file.
const get = (id) => document.getElementById(id);
const captions = get("captions"), status = get("status"), speak = get("speak");
const UNSURE = 0.8;  // words less likely than this are underlined
const PAUSE_S = 1, CUE_LETTERS = 80, CUE_S = 7;  // where subtitles are cut

let words = [];  // {word, start, end, confidence}
let live = null;  // what is open while somebody speaks

const say = (text) => { status.textContent = text; };
const token = () => get("token").value;
const headers = () => (token() ? { authorization: `Bearer ${token()}` } : {});

function clock(seconds, point = ",") {
  const ms = Math.round(seconds * 1000);
  const part = (unit, size, n = 2) => String(Math.floor(ms / unit) % size).padStart(n, "0");
  return `${part(3600000, 100)}:${part(60000, 60)}:${part(1000, 60)}${point}${part(1, 1000, 3)}`;
}

function show(more, offset = 0) {
  for (const word of more) {
    const shown = document.createElement("span");
    const sure = word.confidence === undefined ? "" : `, ${Math.round(100 * word.confidence)} % sure`;
    shown.textContent = word.word;
    shown.title = `${clock(word.start + offset, ".")} to ${clock(word.end + offset, ".")}${sure}`;
    if (word.confidence < UNSURE) shown.className = "unsure";
    captions.insertBefore(shown, coming);
    words.push({ ...word, word: word.word.trim(), start: word.start + offset, end: word.end + offset });
  }
  captions.scrollTop = captions.scrollHeight;
  for (const button of document.querySelectorAll("nav button")) button.disabled = !words.length;
}

// Text of words that are not over yet; a screen reader says each word once, when it is.
const coming = document.createElement("span");
coming.className = "coming";
coming.setAttribute("aria-hidden", "true");
captions.append(coming);

async function start() {
  const delay = Number(get("delay").value);
  const context = new AudioContext();
  const opened = { context, delay, shown: "", offset: words.length ? words.at(-1).end + PAUSE_S : 0 };
  live = opened;
  speak.classList.add("on");
  speak.textContent = "Stop";
  say("Opening the microphone.");
  try {
    opened.media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    await context.audioWorklet.addModule("/page/worklet.js");
    await connect(opened);
    const tap = new AudioWorkletNode(context, "tap");
    tap.port.onmessage = ({ data }) => send(opened, data);
    context.createMediaStreamSource(opened.media).connect(tap);
    await context.resume();
    say("Listening.");
  } catch (error) {
    say(`This does not work: ${error.message}`);
    close(opened);
  }
}

function connect(opened) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const query = token() ? `?token=${encodeURIComponent(token())}` : "";
  const socket = opened.socket = new WebSocket(`${scheme}://${location.host}/v1/realtime${query}`);
  socket.onmessage = ({ data }) => take(opened, JSON.parse(data));
  socket.onclose = () => {
    if (live === opened) {
      say("The server has closed the connection.");
      close(opened);
    }
  };
  return new Promise((resolve, reject) => {
    socket.onopen = () => {
      socket.send(JSON.stringify({
        type: "session.update", model: "voxtral", include: ["words"],
        rate: opened.context.sampleRate, delay_ms: opened.delay,
      }));
      resolve();
    };
    socket.onerror = () => reject(new Error("the server takes no stream now, or the token is wrong"));
  });
}

function send({ socket }, samples) {
  if (socket.readyState !== WebSocket.OPEN) return;
  const pcm = new Int16Array(samples.length);
  let peak = 0;
  samples.forEach((sample, i) => {
    peak = Math.max(peak, Math.abs(sample));
    pcm[i] = Math.max(-32768, Math.min(32767, Math.round(32768 * sample)));
  });
  get("level").style.width = `${Math.max(0, 100 + (100 / 60) * 20 * Math.log10(peak + 1e-9))}%`;
  let bytes = "";
  for (const byte of new Uint8Array(pcm.buffer)) bytes += String.fromCharCode(byte);
  socket.send(JSON.stringify({ type: "input_audio_buffer.append", audio: btoa(bytes) }));
}

function take(opened, event) {
  if (event.type === "transcription.delta") {
    coming.textContent += event.delta;
  } else if (event.type === "transcription.words") {
    const said = event.words.map(({ word }) => word).join("");
    coming.textContent = coming.textContent.slice(said.length);
    if (words.length && !opened.shown) captions.insertBefore(document.createElement("br"), coming);
    opened.shown += said;
    show(event.words, opened.offset);
  } else if (event.type === "transcription.done") {
    say("Done.");
    close(opened);
  } else if (event.type === "error") {
    say(event.error);
  }
}

function stop(opened) {
  opened.media?.getTracks().forEach((track) => track.stop());
  say("Last words.");
  opened.socket.send(JSON.stringify({ type: "input_audio_buffer.commit", final: true }));
}

function close(opened) {
  opened.media?.getTracks().forEach((track) => track.stop());
  opened.context.close();
  opened.socket?.close();
  coming.textContent = "";
  get("level").style.width = "0";
  speak.classList.remove("on");
  speak.textContent = "Speak";
  live = null;
}

speak.addEventListener("click", () => {
  if (!live) start();
  else if (live.socket?.readyState === WebSocket.OPEN) stop(live);
  else close(live);
});

async function transcribe(file) {
  const form = new FormData();
  form.append("model", "voxtral");
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "word");
  form.append("file", file);
  say(`Transcribing ${file.name}.`);
  try {
    const answer = await fetch("/v1/audio/transcriptions", { method: "POST", body: form, headers: headers() });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error.message);
    reset();
    show(told.words.map(({ word, probability, ...times }) => ({ ...times, word: `${word} `, confidence: probability })));
    say(told.warning ?? `${file.name}: ${clock(told.duration, ".")}`);
  } catch (error) {
    say(error.message);
  }
}

function reset() {
  words = [];
  captions.replaceChildren(coming);
  coming.textContent = "";
  show([]);
}

function cues() {
  const found = [];
  for (const word of words) {
    const last = found.at(-1);
    const fits = last && word.start - last.end < PAUSE_S && word.end - last.start < CUE_S
      && last.text.length + word.word.length < CUE_LETTERS;
    if (fits) Object.assign(last, { end: word.end, text: `${last.text} ${word.word}` });
    else found.push({ start: word.start, end: word.end, text: word.word });
  }
  return found;
}

const kinds = {
  txt: () => `${words.map(({ word }) => word).join(" ")}\n`,
  srt: () => cues().map((cue, i) => `${i + 1}\n${clock(cue.start)} --> ${clock(cue.end)}\n${cue.text}\n`).join("\n"),
  json: () => `${JSON.stringify({ words }, null, 1)}\n`,
};

document.querySelector("nav").addEventListener("click", ({ target }) => {
  const kind = target.dataset.kind;
  if (!kind) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([kinds[kind]()], { type: "text/plain" }));
  link.download = `captions.${kind}`;
  link.click();
  URL.revokeObjectURL(link.href);
});

get("clear").addEventListener("click", reset);
get("controls").addEventListener("submit", (event) => event.preventDefault());
get("file").addEventListener("change", ({ target }) => {
  if (target.files[0]) transcribe(target.files[0]);
  target.value = "";
});
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    captions.classList.toggle("over", over);
    if (name === "drop" && event.dataTransfer.files[0]) transcribe(event.dataTransfer.files[0]);
  });
}

get("token").value = sessionStorage.getItem("token") ?? "";
get("token").addEventListener("change", () => {
  sessionStorage.setItem("token", token());
  describe();
});

async function describe() {
  const answer = await fetch("/v1/models", { headers: headers() });
  get("secret").hidden = answer.ok && !token();
  if (answer.ok) get("model").textContent = (await answer.json()).data[0].id;
  else say("This server needs a token.");
}

describe();
