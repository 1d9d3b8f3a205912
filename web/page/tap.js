// Passes what the microphone hears to the page, in blocks of 80 ms.
class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(sampleRate * 0.08));
    this.n = 0;
  }

  process([input]) {
    for (const sample of input[0] ?? []) {
      this.block[this.n++] = sample;
      if (this.n === this.block.length) {
        this.port.postMessage(this.block.slice());
        this.n = 0;
      }
    }
    return true;
  }
}

registerProcessor("tap", Tap);
