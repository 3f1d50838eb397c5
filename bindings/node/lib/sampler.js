// Samplers choose tokens from logits.

import { Handle } from './handle.js';
import { call, made } from './library.js';
import { encode, ids } from './memory.js';

/** Chooses tokens from logits. */
export class Sampler extends Handle {
  constructor(options = {}) {
    const kept = [];
    super(made('ortshard_sampler_create', encode('ortshard_sampler_options', options, kept)), 'ortshard_sampler_free');
  }

  /** Adds tokens to the text so far that the sampler has not chosen: a prompt. */
  accept(tokens) {
    const list = ids(tokens);
    call('ortshard_sampler_accept', this.handle, list, list.length);
  }

  /** Chooses the next token from logits. */
  sample(logits) {
    if (!(logits instanceof Float32Array)) throw new TypeError('logits must be a Float32Array');
    const id = new BigInt64Array(1);
    call('ortshard_sampler_sample', this.handle, logits, logits.length, id);
    return Number(id[0]);
  }

  /** Puts the sampler back to its start. */
  reset() {
    call('ortshard_sampler_reset', this.handle);
  }
}
