// Pieces of models that stay in the browser (the origin's private file system), so that they are fetched once, and a
// fetch that broke goes on where it was. A piece has a file of its name; while it is not whole, NAME.part.

const FOLDER = "voxtral-models";

export class Store {
  /** null where there is no such file system, as in node and in some private windows. */
  static async open() {
    try {
      const root = await navigator.storage.getDirectory();
      const folder = await root.getDirectoryHandle(FOLDER, { create: true });
      if (typeof FileSystemFileHandle.prototype.createSyncAccessHandle !== "function") return null;
      return new Store(folder);
    } catch {
      return null;
    }
  }

  /** Of bytes, as hex. */
  static async hash(bytes) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  static async clear() {
    const root = await navigator.storage.getDirectory();
    await root.removeEntry(FOLDER, { recursive: true }).catch(() => {});
  }

  constructor(folder) {
    this.folder = folder;
  }

  /** The whole piece as a File, or null. */
  async find(name, bytes) {
    try {
      const file = await (await this.folder.getFileHandle(name)).getFile();
      return file.size === bytes ? file : null;
    } catch {
      return null;
    }
  }

  /** What there is of a piece, to be gone on with: { bytes, read(), add(chunk), keep(), drop(), close() }; null: not now. */
  async resume(name) {
    try {
      const handle = await this.folder.getFileHandle(`${name}.part`, { create: true });
      const access = await handle.createSyncAccessHandle();
      let bytes = access.getSize();
      return {
        get bytes() { return bytes; },
        read(into) { access.read(into, { at: 0 }); },
        add(chunk) {
          if (access.write(chunk, { at: bytes }) !== chunk.length) throw new Error("no room");
          bytes += chunk.length;
        },
        async keep() {
          access.flush();
          access.close();
          await handle.move(name);
        },
        drop: () => { access.truncate(0); bytes = 0; },
        close: () => access.close(),
      };
    } catch {
      return null;
    }
  }

  async remove(name) {
    await this.folder.removeEntry(name).catch(() => {});
  }
}
