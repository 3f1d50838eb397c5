// Structs in memory: written from objects and read into objects, by the places that lib/generated/layout.js has for their fields.

import koffi from 'koffi';
import { structs } from './generated/layout.js';

const NUMBERS = {
  int32_t: [-(2 ** 31), 2 ** 31 - 1, 'setInt32', 'getInt32'],
  uint32_t: [0, 2 ** 32 - 1, 'setUint32', 'getUint32'],
  int64_t: [-(2n ** 63n), 2n ** 63n - 1n, 'setBigInt64', 'getBigInt64'],
  uint64_t: [0n, 2n ** 64n - 1n, 'setBigUint64', 'getBigUint64'],
  size_t: [0n, 2n ** 64n - 1n, 'setBigUint64', 'getBigUint64'],
  float: [, , 'setFloat32', 'getFloat32'],
  double: [, , 'setFloat64', 'getFloat64'],
};
const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A number of C, or an error that names what it was to be. */
export function number(value, type, name) {
  const [least, most] = NUMBERS[type];
  if (least === undefined) {
    if (typeof value !== 'number') throw new TypeError(`${name} must be a number, not ${typeof value}`);
    return value;
  }
  const isWhole = typeof value === 'bigint' || Number.isInteger(value);
  if (!isWhole) throw new TypeError(`${name} must be a whole number, not ${typeof value === 'number' ? value : typeof value}`);
  if (value < least || value > most) throw new RangeError(`${name} is ${value}, and must be ${least} to ${most}`);
  return typeof least === 'bigint' ? BigInt(value) : Number(value);
}

/** Token ids in memory of their own. */
export function ids(values, name = 'ids') {
  if (typeof values?.[Symbol.iterator] !== 'function' || typeof values === 'string') {
    throw new TypeError(`${name} must be a list of token ids`);
  }
  if (values instanceof BigInt64Array) return values.slice();
  return BigInt64Array.from(values, (id, at) => number(id, 'int64_t', `${name}[${at}]`));
}

/** A text in memory, with its NUL. C would not see what stands behind another NUL, so there must be none. */
export function text(value, name) {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, not ${value === null ? 'null' : typeof value}`);
  if (value.includes('\0')) throw new TypeError(`${name} holds a NUL character`);
  return Buffer.from(`${value}\0`);
}

/** Memory of `bytes` as numbers. */
export const address = (bytes) => (bytes.byteLength ? koffi.address(bytes) : 0n);

/** Addresses one after another, as an array of pointers. */
export const pointers = (list) => BigUint64Array.from(list, BigInt);

/** A copy of `length` bytes at `place`: memory of the library's own is never shown. */
export function copy(place, length) {
  if (!length) return Buffer.alloc(0);
  const { buffer, byteOffset, byteLength } = koffi.decode(place, 'uint8_t', Number(length));
  return Buffer.from(buffer, byteOffset, byteLength);
}

const textAt = (place, length) => (place === 0n ? '' : copy(place, length).toString('utf8'));

/** Memory for a struct, zero but for its own size. */
export function blank(struct) {
  const { size, init } = structs[struct];
  const bytes = Buffer.alloc(size);
  if (init) viewOf(bytes).setBigUint64(0, BigInt(size), LITTLE_ENDIAN);
  return bytes;
}

/**
 * Memory of a struct with the values of an object, and the struct's defaults where it has none. What it points to goes on
 * the list `kept`, which must live as long as the memory is used.
 */
export function encode(struct, values, kept, into = blank(struct)) {
  const { fields, init } = structs[struct];
  const what = struct.replace('ortshard_', '').replaceAll('_', ' ');
  if (values === null || typeof values !== 'object') throw new TypeError(`the ${what} must be an object`);
  const known = fields.filter((field) => field.kind);
  for (const name of Object.keys(values)) {
    if (known.some((field) => field.name === name)) continue;
    throw new TypeError(`the ${what} have no ${name}: there are ${known.map((field) => field.name).join(', ')}`);
  }
  const view = viewOf(into);
  const put = (offset, bytes) => {
    kept.push(bytes);
    view.setBigUint64(offset, address(bytes), LITTLE_ENDIAN);
  };
  const list = (offset, items, bytes) => {
    put(offset, bytes);
    view.setBigUint64(offset + 8, BigInt(items), LITTLE_ENDIAN);
  };
  for (const { name, offset, kind, of } of known) {
    const value = values[name] ?? init?.[name];
    if (value === undefined || value === null) continue;
    const named = `${what}: ${name}`;
    if (kind === 'switch') view[NUMBERS[of][2]](offset, of === 'int64_t' ? BigInt(!!value) : Number(!!value), LITTLE_ENDIAN);
    else if (kind === 'number') view[NUMBERS[of][2]](offset, number(value, of, named), LITTLE_ENDIAN);
    else if (kind === 'text') put(offset, text(value, named));
    else if (kind === 'struct') put(offset, encode(of, value, kept));
    else if (kind === 'handle') {
      if (typeof value.handle !== 'bigint') throw new TypeError(`${named} must be a ${of}`);
      view.setBigUint64(offset, value.handle, LITTLE_ENDIAN);
    }
    else if (kind === 'texts' || (kind === 'list' && of !== 'int64_t')) {
      if (!Array.isArray(value)) throw new TypeError(`${named} must be an array`);
      if (kind === 'texts') {
        const lines = value.map((line, at) => text(line, `${named}[${at}]`));
        kept.push(...lines);
        list(offset, lines.length, pointers(lines.map(address)));
      } else {
        list(offset, value.length, encodeAll(of, value, kept));
      }
    } else if (kind === 'list') {
      const numbers = ids(value, named);
      list(offset, numbers.length, numbers);
    }
  }
  return into;
}

/** Structs one after another. */
export function encodeAll(struct, list, kept) {
  const { size } = structs[struct];
  const bytes = Buffer.alloc(size * list.length);
  list.forEach((values, at) => encode(struct, values, kept, bytes.subarray(at * size, (at + 1) * size)));
  return bytes;
}

/** An object with what stands in a struct. Everything is copied. */
export function decode(struct, bytes) {
  const view = viewOf(bytes);
  const result = {};
  for (const { name, offset, size, kind, of, length } of structs[struct].fields) {
    if (kind === 'switch' || kind === 'number') {
      const value = view[NUMBERS[of][3]](offset, LITTLE_ENDIAN);
      result[name] = kind === 'switch' ? Number(value) !== 0 : exact(value);
    } else if (kind === 'chars') {
      const chars = bytes.subarray(offset, offset + size);
      result[name] = chars.subarray(0, chars.indexOf(0)).toString('utf8');
    } else if (kind === 'text') {
      const place = view.getBigUint64(offset, LITTLE_ENDIAN);
      if (length) result[name] = textAt(place, view.getBigUint64(offset + 8, LITTLE_ENDIAN));
      else result[name] = place === 0n ? null : koffi.decode.string(place);
    } else if (kind === 'list' && of !== 'int64_t') {
      const [place, count] = [view.getBigUint64(offset, LITTLE_ENDIAN), Number(view.getBigUint64(offset + 8, LITTLE_ENDIAN))];
      result[name] = decodeAll(of, copy(place, count * structs[of].size));
    }
  }
  return result;
}

/** The objects of structs that stand one after another. */
export function decodeAll(struct, bytes) {
  const { size } = structs[struct];
  return Array.from({ length: bytes.length / size }, (_, at) => decode(struct, bytes.subarray(at * size, (at + 1) * size)));
}

/** A number of C as one of JavaScript: exact, or a bigint. */
function exact(value) {
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value;
}
