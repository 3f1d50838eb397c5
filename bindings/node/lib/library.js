// The library: found, checked, called. Whoever calls it asynchronously gets the error of that very call.

import koffi from 'koffi';
import { ABI_VERSION, StatusCode } from './generated/constants.js';
import { functions, structs } from './generated/layout.js';
import { blank, decode } from './memory.js';

const NAMES = { darwin: 'libortshard.dylib', win32: 'ortshard.dll' };

/** Stack that the library needs. koffi gives calls on other threads less, and can be told only before it loads a library. */
const STACK = 256 * 1024;
/** Calls on other threads at a time. There are hardly more threads, and each waiting call takes memory. */
const AT_ONCE = 16;

/** An error of the library. */
export class OrtshardError extends Error {
  constructor(status, message, oom) {
    super(message);
    this.name = 'OrtshardError';
    this.status = status;
    this.code = Object.keys(StatusCode).find((name) => StatusCode[name] === status) ?? `STATUS_${status}`;
    if (oom) this.oom = oom;
  }
}

let loaded;

/**
 * Loads the library from the file `path`; without it from the one that the environment's ORTSHARD_LIBRARY names, else from
 * where the system's loader finds it. The first call that needs the library does it, too.
 */
export function loadLibrary(path) {
  const file = path ?? process.env.ORTSHARD_LIBRARY ?? NAMES[process.platform] ?? 'libortshard.so.0';
  if (loaded && (path === undefined || loaded.file === path)) return;
  if (loaded) throw new OrtshardError(StatusCode.INVALID_STATE, `${loaded.file} is loaded already, not ${path}`);
  const refuse = (why) => {
    throw new OrtshardError(StatusCode.VERSION_MISMATCH, `${file} is not a library that this package was made for: ${why}`);
  };
  if (koffi.sizeof('void *') !== 8) refuse('pointers have 64 bits in it');
  if (koffi.config().async_stack_size < STACK) {
    try {
      koffi.config({ ...koffi.config(), async_stack_size: 2 * STACK });
    } catch {
      const help = `call koffi.config({ async_stack_size: ${2 * STACK} }) before another library is loaded`;
      throw new OrtshardError(StatusCode.INVALID_STATE, `koffi gives calls on other threads too little stack: ${help}`);
    }
  }
  let library;
  try {
    library = koffi.load(file);
  } catch (error) {
    const help = path === undefined ? '; set ORTSHARD_LIBRARY to the path of libortshard, or call loadLibrary(path)' : '';
    throw new OrtshardError(StatusCode.NOT_FOUND, `${file} cannot be loaded: ${error.message}${help}`);
  }
  const found = {};
  const find = (name) => {
    try {
      found[name] = library.func(name, ...functions[name]);
    } catch {
      refuse(`it has no function ${name}`);
    }
  };
  find('ortshard_abi_version');
  const version = found.ortshard_abi_version();
  if (version !== ABI_VERSION) refuse(`its ABI version is ${version}, not ${ABI_VERSION}`);
  Object.keys(functions).forEach(find);
  for (const [name, { size, init }] of Object.entries(structs)) {
    if (!init) continue;
    const bytes = blank(name);
    const status = found[`${name}_init`](bytes, size);
    const fields = decode(name, bytes);
    const other = Object.keys(init).find((field) => fields[field] !== Math.fround(init[field]) && fields[field] !== init[field]);
    if (status !== 0 || Number(bytes.readBigUInt64LE()) !== size) refuse(`${name} is another struct in it`);
    if (other) refuse(`${name} has another ${other} in it: ${fields[other]}, not ${init[other]}`);
  }
  loaded = { file, functions: found };
}

function foreign(name) {
  if (!loaded) loadLibrary();
  return loaded.functions[name];
}

/** Calls a function that cannot fail. */
export const plain = (name, ...parameters) => foreign(name)(...parameters);

/** The error of a call: the last on this thread, or the last on `object` of whatever thread. */
export function failure(status, object) {
  let message;
  if (object === null) {
    message = plain('ortshard_last_error');
  } else {
    const needed = new BigUint64Array(1);
    plain('ortshard_error_message', object, null, 0, needed);
    const bytes = Buffer.alloc(Number(needed[0]));
    plain('ortshard_error_message', object, bytes, bytes.length, needed);
    message = bytes.subarray(0, -1).toString('utf8');
  }
  const oom = blank('ortshard_oom');
  const ranOut = status === StatusCode.OUT_OF_MEMORY && plain('ortshard_error_get_oom', object, oom) === 0;
  return new OrtshardError(status, message, ranOut ? decode('ortshard_oom', oom) : undefined);
}

/** Calls a function on this thread, and throws what goes wrong. */
export function call(name, ...parameters) {
  const status = foreign(name)(...parameters);
  if (status !== 0) throw failure(status, null);
}

const waiting = [];
let running = 0;

function next() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    waiting.shift()();
  }
}

/** Calls a function on another thread, and gives the status. Memory that `parameters` and `kept` name stays until then. */
export function start(kept, name, ...parameters) {
  const { async } = foreign(name);
  return new Promise((resolve, reject) => {
    waiting.push(() => {
      const settle = (error, status) => {
        kept.length = 0;
        running -= 1;
        next();
        if (error) reject(error);
        else resolve(status);
      };
      kept.push(...parameters);
      try {
        async(...parameters, settle);
      } catch (error) {
        settle(error);
      }
    });
    next();
  });
}

/**
 * What a function writes that tells how much it is: numbers of a typed array, or bytes. It is called again if that is more than
 * `guess`. Behind the number may come `last` parameters.
 */
export function filled(name, object, parameters, Array = BigInt64Array, guess = 4096, ...last) {
  const needed = new BigUint64Array(1);
  for (let room = guess; ; room = Number(needed[0])) {
    const values = new Array(room);
    const status = foreign(name)(object, ...parameters, values.length ? values : null, room, needed, ...last);
    if (status !== 0 && status !== StatusCode.BUFFER_TOO_SMALL) throw failure(status, null);
    if (status === 0 && needed[0] <= room) return values.slice(0, Number(needed[0]));
  }
}

/** The same for a text, which has a NUL behind it. */
export const filledText = (name, object, ...parameters) =>
  Buffer.from(filled(name, object, parameters, Uint8Array)).subarray(0, -1).toString('utf8');

/** The same for a struct. */
export function info(struct, name, ...parameters) {
  const bytes = blank(struct);
  call(name, ...parameters, bytes);
  return decode(struct, bytes);
}

/** What a function makes: the handle that it writes. */
export function made(name, ...parameters) {
  const handle = new BigUint64Array(1);
  call(name, ...parameters, handle);
  return handle[0];
}
