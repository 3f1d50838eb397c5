// Objects of the library: closed by name or by the garbage collector, and used by one call at a time.

import { StatusCode } from './generated/constants.js';
import { OrtshardError, failure, plain, start } from './library.js';

/** Frees what was forgotten. */
const forgotten = new FinalizationRegistry(({ free, handle }) => plain(free, handle));

/** An object of the library. */
export class Handle {
  #handle;
  #free;
  #calls = 0;
  #last = Promise.resolve();

  constructor(handle, free) {
    this.#handle = handle;
    this.#free = free;
    forgotten.register(this, { free, handle }, this);
  }

  /** Whether close() was called. */
  get closed() {
    return this.#handle === null;
  }

  /** The handle, for a call that starts now. */
  get handle() {
    if (this.closed) throw new OrtshardError(StatusCode.INVALID_STATE, `the ${this.constructor.name} is closed`);
    return this.#handle;
  }

  /** Gives the object's memory back, at the end of the calls that were made before. May be called again. */
  close() {
    if (this.closed) return;
    const handle = this.#handle;
    this.#handle = null;
    forgotten.unregister(this);
    const free = () => plain(this.#free, handle);
    if (this.#calls) this.#last.then(free);
    else free();
  }

  [Symbol.dispose]() {
    this.close();
  }

  /**
   * Does `work` when the calls on all of `objects` that were made before have ended, and before those that come later. So
   * the last message of an object is that of the call that failed, and what an object lends stays as it is.
   */
  static async inTurn(objects, work) {
    const handles = objects.map((object) => object.handle);
    const before = objects.map((object) => object.#last);
    const done = Promise.all(before).then(() => work(...handles));
    const settled = done.then(() => {}, () => {});
    for (const object of new Set(objects)) {
      object.#calls += 1;
      object.#last = settled.then(() => void (object.#calls -= 1));
    }
    return done;
  }
}

/** What an object's state is as bytes, by a function that tells how many these are. */
export function exported(object, name, ...given) {
  return Handle.inTurn([object], async (handle) => {
    const needed = new BigUint64Array(1);
    await started(handle, [], name, handle, ...given, null, 0, needed);
    const state = new Uint8Array(Number(needed[0]));
    await started(handle, [], name, handle, ...given, state, state.length, needed);
    return state;
  });
}

/** Puts an object where the one was that exported the state. */
export async function imported(object, name, state) {
  if (!(state instanceof Uint8Array)) throw new TypeError('state must be a Uint8Array');
  const bytes = Buffer.from(state);
  return Handle.inTurn([object], (handle) => started(handle, [], name, handle, bytes, bytes.length));
}

/** Calls a function of the object `on` on another thread, in an object's turn. */
export async function started(on, kept, name, ...parameters) {
  const status = await start(kept, name, ...parameters);
  if (status !== 0) throw failure(status, on);
}

/**
 * Does `work`, and `cancel` if `signal` is aborted meanwhile. A cancellation that came too late is taken back by `clear`, so
 * that it does not meet a later call.
 */
export async function cancellable(signal, cancel, clear, work) {
  signal?.throwIfAborted();
  let cancelled = false;
  const abort = () => {
    cancelled = true;
    cancel();
  };
  signal?.addEventListener('abort', abort, { once: true });
  try {
    return await work();
  } catch (error) {
    if (cancelled && error.status === StatusCode.CANCELLED) throw signal.reason;
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
    if (cancelled) clear();
  }
}
