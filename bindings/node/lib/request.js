// Requests run tokens through shards: one, several in a row, or many at once.

import { Logits, StatusCode } from './generated/constants.js';
import { Handle, cancellable, exported, imported, started } from './handle.js';
import { call, failure, info, plain, start } from './library.js';
import { ids, number, pointers } from './memory.js';
import { Sampler } from './sampler.js';
import { TENSOR_SIZE, decodeTensor, encodeTensor } from './tensor.js';

/** A sequence of tokens on a shard: a KV cache and a position in it. */
export class Request extends Handle {
  static own(handle) {
    return new Request(handle, 'ortshard_request_free');
  }

  /** Tokens that were run. */
  get position() {
    const position = new BigUint64Array(1);
    call('ortshard_request_position', this.handle, position);
    return Number(position[0]);
  }

  /** Tokens there is room for. */
  get capacity() {
    const capacity = new BigUint64Array(1);
    call('ortshard_request_capacity', this.handle, capacity);
    return Number(capacity[0]);
  }

  /** Runs token ids, the bytes of a frame, or a tensor, and gives logits, hidden states or a frame. */
  infer(input, options) {
    return chainInfer([this], input, options);
  }

  /** Runs tokens through a shard of all layers, and gives the one that follows. Without a sampler: the likeliest. */
  sample(input, sampler, options) {
    return chainSample([this], input, sampler, options);
  }

  /** Runs tokens through a shard of all layers, and gives the last one's logits. */
  async logits(tokens, options) {
    return (await chainInfer([this], ids(tokens), options)).data;
  }

  /** Forgets every token from `position` on. */
  async truncate(position) {
    const place = number(position, 'uint64_t', 'position');
    return Handle.inTurn([this], (request) => started(request, [], 'ortshard_request_truncate', request, place));
  }

  /** Another request with the same tokens behind it. */
  fork() {
    const handle = new BigUint64Array(1);
    return Handle.inTurn([this], async (request) => {
      await started(request, [], 'ortshard_request_fork', request, handle);
      return Request.own(handle[0]);
    });
  }

  /** The request's state, to be kept or sent. */
  exportState() {
    return exported(this, 'ortshard_request_export_state');
  }

  /** What its state has gained since it was at position `since`. */
  async exportStateSince(since) {
    return exported(this, 'ortshard_request_export_state_since', number(since, 'uint64_t', 'since'));
  }

  /** Puts the request where the one was that exported the state; what it gained since a position is taken there. */
  importState(state) {
    return imported(this, 'ortshard_request_import_state', state);
  }

  /** Cancels the run in progress or, if none is, the next one. */
  cancel() {
    call('ortshard_request_cancel', this.handle);
  }

  /** Takes back a cancellation that met no run. */
  clearCancel() {
    call('ortshard_request_clear_cancel', this.handle);
  }
}

const instances = (list, Kind, name) => {
  if (Array.isArray(list) && list.every((item) => item instanceof Kind)) return list;
  throw new TypeError(`${name} must be an array of ${Kind.name}`);
};

/** Calls a function on requests in a row. The first has the message of what goes wrong, and a signal cancels all. */
function inChain(requests, sampler, signal, work) {
  const objects = [...instances(requests, Request, 'requests'), ...instances(sampler ? [sampler] : [], Sampler, 'the sampler')];
  return Handle.inTurn(objects, (...handles) => {
    const list = handles.slice(0, requests.length);
    const each = (name) => () => list.forEach((request) => plain(name, request));
    const cancel = list.length ? () => plain('ortshard_request_cancel', list[0]) : () => {};
    return cancellable(signal, cancel, each('ortshard_request_clear_cancel'), () => work(list, handles[requests.length] ?? null));
  });
}

/** Runs an input through the shards of requests in turn, as one model, and gives what the last one gives. */
export async function chainInfer(requests, input, { logits = Logits.LAST, signal } = {}) {
  const kept = [];
  const [given, output] = [encodeTensor(input, kept), Buffer.alloc(TENSOR_SIZE)];
  const wanted = number(logits, 'int32_t', 'logits');
  return inChain(requests, null, signal, async (list) => {
    if (!list.length) call('ortshard_chain_infer', null, 0, given, wanted, output);
    const name = list.length === 1 ? 'ortshard_request_infer' : 'ortshard_chain_infer';
    const target = list.length === 1 ? list : [pointers(list), list.length];
    await started(list[0], kept, name, ...target, given, wanted, output);
    return decodeTensor(output);
  });
}

/** Runs an input through the shards of requests in turn, as one model, and gives the token that follows. */
export async function chainSample(requests, input, sampler = null, { signal } = {}) {
  const kept = [];
  const [given, id] = [encodeTensor(input, kept), new BigInt64Array(1)];
  return inChain(requests, sampler, signal, async (list, chooser) => {
    if (!list.length) call('ortshard_chain_sample', null, 0, given, chooser, id);
    await started(list[0], kept, 'ortshard_chain_sample', pointers(list), list.length, given, chooser, id);
    return Number(id[0]);
  });
}

/** Runs an input through one shard for each of many requests at once. Each gives an output or an error. */
export async function batchInfer(requests, inputs, { logits } = {}) {
  sameLength(instances(requests, Request, 'requests'), { inputs, logits });
  const kept = [];
  const given = Buffer.concat(inputs.map((input) => encodeTensor(input, kept)));
  const wanted = logits ? Int32Array.from(logits) : null;
  const outputs = Buffer.alloc(TENSOR_SIZE * requests.length);
  return inBatch(requests, [], async (list, statuses) => {
    kept.push(wanted);
    const status = await start(kept, 'ortshard_batch_infer', pointers(list), given, wanted, list.length, outputs, statuses);
    return [status, (at) => decodeTensor(outputs.subarray(at * TENSOR_SIZE, (at + 1) * TENSOR_SIZE))];
  });
}

/** The same with a sampler for each request, or none: each gives the token that follows, or an error. */
export async function batchSample(requests, inputs, samplers = []) {
  instances(samplers, Sampler, 'samplers');
  sameLength(instances(requests, Request, 'requests'), { inputs, samplers: samplers.length ? samplers : undefined });
  const kept = [];
  const given = Buffer.concat(inputs.map((input) => encodeTensor(input, kept)));
  const out = new BigInt64Array(requests.length);
  return inBatch(requests, samplers, async (list, statuses, chosen) => {
    const choosers = chosen.length ? pointers(chosen) : null;
    const parameters = [pointers(list), given, choosers, list.length, out, statuses];
    return [await start(kept, 'ortshard_batch_sample', ...parameters), (at) => Number(out[at])];
  });
}

function sameLength(requests, lists) {
  for (const [name, list] of Object.entries(lists)) {
    if (list === undefined) continue;
    if (!Array.isArray(list)) throw new TypeError(`${name} must be an array`);
    if (list.length !== requests.length) {
      throw new RangeError(`there are ${requests.length} requests, but ${list.length} ${name}`);
    }
  }
}

async function inBatch(requests, samplers, work) {
  return Handle.inTurn([...requests, ...samplers], async (...handles) => {
    const list = handles.slice(0, requests.length);
    // What fails as a whole leaves no status of its own.
    const statuses = new Int32Array(list.length).fill(-1);
    const [status, value] = await work(list, statuses, handles.slice(list.length));
    if (status !== 0 && statuses.includes(-1)) throw failure(status, list[0]);
    return list.map((request, at) => (statuses[at] === StatusCode.OK ? value(at) : failure(statuses[at], request)));
  });
}

const bytesOf = (frame) => {
  if (frame instanceof Uint8Array) return frame;
  throw new TypeError('the frame must be a Uint8Array');
};

/** How many bytes the frame has that begins with `start`, of which FRAME_START bytes are enough. */
export function frameSize(start) {
  const size = new BigUint64Array(1);
  call('ortshard_frame_size', bytesOf(start), start.length, size);
  return Number(size[0]);
}

/** What a frame says of itself. */
export const frameInfo = (frame) => info('ortshard_frame_info', 'ortshard_frame_get_info', bytesOf(frame), frame.length);

/** What a frame carries, part by part. */
export function frameParts(frame) {
  return Array.from({ length: frameInfo(frame).partCount }, (_, index) => {
    const [role, part] = [new Int32Array(1), Buffer.alloc(TENSOR_SIZE)];
    call('ortshard_frame_get_part', frame, frame.length, index, role, part);
    return { role: role[0], ...decodeTensor(part) };
  });
}
