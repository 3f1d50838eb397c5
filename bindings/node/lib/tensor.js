// What goes into requests and comes out of them. Both are copied, so that no array changes under anybody's hands.

import { Dtype } from './generated/constants.js';
import { structs } from './generated/layout.js';
import { address, copy, ids } from './memory.js';

const ARRAYS = {
  [Dtype.I32]: Int32Array,
  [Dtype.I64]: BigInt64Array,
  [Dtype.F32]: Float32Array,
  [Dtype.F16]: Uint16Array,
  [Dtype.BF16]: Uint16Array,
  [Dtype.FRAME]: Uint8Array,
};
const { size: SIZE, fields } = structs.ortshard_tensor;
const at = Object.fromEntries(fields.map(({ name, offset }) => [name, offset]));

/** A struct ortshard_tensor for `input`: token ids, the bytes of a frame, or a tensor. */
export function encodeTensor(input, kept) {
  const { dtype, shape, data } = plainTensor(input);
  const tensor = Buffer.alloc(SIZE);
  tensor.writeInt32LE(dtype, at.dtype);
  tensor.writeUInt32LE(shape.length, at.rank);
  shape.forEach((length, axis) => tensor.writeBigInt64LE(BigInt(length), at.shape + 8 * axis));
  tensor.writeBigUInt64LE(address(data), at.data);
  tensor.writeBigUInt64LE(BigInt(data.byteLength), at.byteLength);
  kept.push(data);
  return tensor;
}

function plainTensor(input) {
  if (input instanceof Uint8Array) return { dtype: Dtype.FRAME, shape: [input.length], data: Buffer.from(input) };
  if (typeof input?.[Symbol.iterator] === 'function') {
    const data = ids(input);
    return { dtype: Dtype.I64, shape: [data.length], data };
  }
  const { dtype, shape, data } = input ?? {};
  if (!(dtype in ARRAYS)) throw new TypeError(`input.dtype is ${dtype}, and must be I32, I64, F32, F16, BF16 or FRAME of Dtype`);
  if (!(data instanceof ARRAYS[dtype])) throw new TypeError(`input.data must be a ${ARRAYS[dtype].name}`);
  if (!Array.isArray(shape) || shape.length > 4 || !shape.every(Number.isSafeInteger)) {
    throw new TypeError('input.shape must be a list of at most 4 whole numbers');
  }
  return { dtype, shape, data: data.slice() };
}

/** The tensor that a struct describes, with a copy of its values. */
export function decodeTensor(bytes) {
  const dtype = bytes.readInt32LE(at.dtype);
  const shape = Array.from({ length: bytes.readUInt32LE(at.rank) }, (_, axis) =>
    Number(bytes.readBigInt64LE(at.shape + 8 * axis)),
  );
  const values = copy(bytes.readBigUInt64LE(at.data), bytes.readBigUInt64LE(at.byteLength));
  const Values = ARRAYS[dtype] ?? Uint8Array;
  // Numbers must not lie askew, and where a copy begins nobody promises.
  const { buffer, byteOffset } = values.byteOffset % Values.BYTES_PER_ELEMENT ? new Uint8Array(values) : values;
  return { dtype, shape, data: new Values(buffer, byteOffset, values.length / Values.BYTES_PER_ELEMENT) };
}

export const TENSOR_SIZE = SIZE;
