// The compiled core: which build this engine takes, its memory, its threads. See csrc/web.h.

const RELAXED_MODULE = new Uint8Array([ // a function that does nothing but i32x4.relaxed_trunc_f32x4_s
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0,
  65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
]);
const PAGE = 65536, MOST_PAGES = 65536;  // of 32 bits: 4 GiB
const STACK_BYTES = 1 << 20;  // of each thread
const NOT_HERE = 52;  // WASI's ENOSYS

/** Whether threads may share memory: a page must be isolated for it. */
export function canShare() {
  return typeof SharedArrayBuffer !== "undefined" && globalThis.crossOriginIsolated !== false;
}

/** The name of the fastest build that runs here. */
export function bestBuild(threads) {
  const vectors = WebAssembly.validate(RELAXED_MODULE) ? "relaxed" : "simd128";
  return threads > 1 ? `${vectors}-threads` : vectors;
}

export class Core {
  /** `lend(module, memory, data)` starts a thread that runs Core.serve with these; it returns at once. */
  static async load(bytes, threads, lend) {
    const module = await WebAssembly.compile(bytes);
    const memory = threads > 1
      ? new WebAssembly.Memory({ initial: 64, maximum: MOST_PAGES - 1, shared: true }) : undefined;
    const core = new Core(await WebAssembly.instantiate(module, imports(memory, () => core.memory)), memory);
    core.c._initialize();
    for (let i = 1; i < threads; i++) {
      const stack = core.c.allocate(STACK_BYTES), tls = core.c.allocate(core.c.__tls_size.value + 64);
      lend({ module, memory, stack: stack + STACK_BYTES, tls: (tls + 63) & ~63 });
    }
    while (threads > 1 && core.c.n_threads() < threads) await new Promise((done) => setTimeout(done, 1));
    return core;
  }

  /** In a thread that was lent: runs what the core gives it, for ever. */
  static async serve({ module, memory, stack, tls }) {
    const instance = await WebAssembly.instantiate(module, imports(memory, () => memory));
    instance.exports.__stack_pointer.value = stack;
    instance.exports.__wasm_init_tls(tls);
    instance.exports.serve_thread();
  }

  constructor(instance, memory) {
    this.c = instance.exports;
    this.memory = memory ?? this.c.memory;
  }

  /** A view of n bytes at an address, which the core gives as a signed number: valid until memory grows. */
  bytes(address, n) {
    return new Uint8Array(this.memory.buffer, address >>> 0, n);
  }

  text(address, n) {
    const from = this.bytes(address);
    return new TextDecoder().decode(from.slice(0, n ?? from.indexOf(0)));
  }
}

// Of a system the core asks for a clock only; what the C library would write to, nobody reads.
function imports(memory, current) {
  const wasi = {
    clock_time_get(clock, precision, to) {
      const ns = BigInt(Math.round(performance.now() * 1e6));
      new DataView(current().buffer).setBigUint64(to, ns, true);
      return 0;
    },
  };
  const system = new Proxy(wasi, { get: (known, name) => known[name] ?? (() => NOT_HERE) });
  return { env: { memory }, wasi_snapshot_preview1: system };
}
