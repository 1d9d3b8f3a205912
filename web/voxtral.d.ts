/** Samples per second of all audio. */
export declare const RATE: 16000;

export type Source =
  /** The address of a GGUF file, or of a list of its pieces (.json, made by voxtral-split); in node a path as well. */
  | string
  | URL
  /** A file of the visitor's own: a File is a Blob. It is read in place and not kept. */
  | Blob
  | ArrayBuffer
  | Uint8Array;

export interface LoadOptions {
  /** Told now and then how many bytes are in memory. */
  onProgress?: (progress: { loaded: number; total: number }) => void;
  /** Threads that compute. More than one only where the page is cross-origin isolated; left out: what suits the model. */
  threads?: number;
  /** Keep what was fetched in the browser (OPFS), so that it is fetched once, and goes on after a break. Default: true. */
  keep?: boolean;
  /**
   * Where memory is short for a stream's keys and values: the decoder remembers no more than so many seconds, 0.08 or
   * more, and hears otherwise than it was trained to. Left out: as many as it was trained for.
   */
  windowS?: number;
}

export interface StreamOptions {
  /** How far text trails speech: 80 to 1200 in steps of 80, or 2400. Left out: the model's default. */
  delayMs?: number;
  /** What is silent for longer is not computed: at least delayMs + 880, by 80. 0, the default: all is computed. */
  silenceGateMs?: number;
  /** After this long of nothing but silence the model becomes likelier to say something, by 80. 0, the default: never. */
  padGuardMs?: number;
  /** Pieces have theirs. */
  confidence?: boolean;
  /** Names and terms to expect, in the spelling wanted: where the model is in two minds, it leans towards them. */
  words?: readonly string[];
  /** By how many logits it may, above 0 and at most 10. Left out: 3. */
  wordsBonus?: number;
  /** "auto": quiet speech is made louder, by up to 40 dB. A number: all audio is, by so many dB, -60 to 60. */
  gain?: "auto" | number;
}

/** The text of one token, which may be part of a word and brings its own leading space. */
export interface Piece {
  text: string;
  token: number;
  /** Bounds of the token's 80 ms, from the first sample on. */
  startMs: number;
  endMs: number;
  /** Probability of the token, 0 to 1, if the stream was asked for it; tokens that never have text have none. */
  confidence?: number;
}

/** What does not work, in one line that says what to do. */
export declare class VoxtralError extends Error {
  code: "argument" | "state" | "io" | "format" | "memory" | "compute";
}

/** A model in a thread of its own. */
export declare class Model {
  /** Without a source: the embedded model. Rejects with a VoxtralError. */
  static load(source?: Source, options?: LoadOptions): Promise<Model>;
  /** Forget all models that were kept in the browser. */
  static clearStored(): Promise<void>;

  readonly name: string;
  /** What the model understands. */
  readonly description: string;
  /** "q4_0", "f32", ... */
  readonly fileType: string;
  /** The vectors in use: "wasm-simd128" or "wasm-relaxed". */
  readonly kernels: string;
  readonly nParams: number;
  readonly nBytes: number;
  readonly defaultDelayMs: number;
  readonly threads: number;

  /** A new stream, at once; any number may be open. What is wrong with the options rejects its calls. */
  stream(options?: StreamOptions): Stream;
  /** The text of [n] samples at 16 kHz. */
  transcribe(samples: Float32Array | Int16Array, options?: StreamOptions): Promise<string>;
  /** Bytes of memory that the model and its streams have taken. */
  memory(): Promise<number>;
  /** Ends the thread and all streams. */
  close(): void;
}

/** One stream of audio and its text: feed it, and iterate over it at the same time. */
export declare class Stream implements AsyncIterable<Piece> {
  /**
   * Add [n] samples at 16 kHz of one channel, any n; they are copied. Resolves when more may come: at once, but where
   * 10 s of audio wait to be computed. A microphone need not wait for it.
   */
  feed(samples: Float32Array | Int16Array): Promise<void>;
  /** There is no more audio: the last words follow, and the iteration ends. */
  finish(): Promise<void>;
  /** Give its memory back; what was not read yet can still be read. */
  close(): void;
  [Symbol.asyncIterator](): AsyncIterator<Piece>;
}
