// Text in progress, pulled token by token.

import { grammarOf } from './constraint.js';
import { Finish, StatusCode } from './generated/constants.js';
import { structs } from './generated/layout.js';
import { Handle, exported, imported, started } from './handle.js';
import { call, failure, filled, made, plain, start } from './library.js';
import { blank, decode, encode, ids, number, pointers, text } from './memory.js';
import { Request } from './request.js';

/** The handle of a generation that there is already. */
class Made {
  constructor(handle) {
    this.handle = handle;
  }
}

/** The tokenizer and the options, as creating functions take them. */
function given({ tokenizer = null, grammar, grammarKind, ...options }, kept) {
  const [written, kind] = grammarOf(grammar, grammarKind);
  return [tokenizer?.handle ?? null, encode('ortshard_generation_options', { ...options, grammar: written, grammarKind: kind }, kept)];
}

function created(requests, options) {
  const list = Array.isArray(requests) ? requests : [requests];
  if (!list.every((request) => request instanceof Request)) throw new TypeError('requests must be an array of Request');
  const kept = [];
  const handles = pointers(list.map((request) => request.handle));
  return made('ortshard_generation_create', handles, list.length, ...given(options, kept));
}

/** A text in progress on requests that are a whole model together. */
export class Generation extends Handle {
  constructor(requests, options = {}) {
    super(requests instanceof Made ? requests.handle : created(requests, options), 'ortshard_generation_free');
  }

  /** One whose tokens the program runs by itself, on a model of this size. */
  static remote({ vocabSize, capacity, shortContext = 0 }, options = {}) {
    const kept = [];
    const sizes = Object.entries({ vocabSize, capacity }).map(([name, size]) => number(size, 'uint32_t', name));
    sizes.push(number(shortContext, 'uint64_t', 'shortContext'));
    return new Generation(new Made(made('ortshard_generation_create_remote', ...sizes, ...given(options, kept))));
  }

  /** Of one that is remote: the tokens that are to be run before the next step. Without any, it needs no logits. */
  pending() {
    return Handle.inTurn([this], (generation) => Array.from(filled('ortshard_generation_pending', generation, []), Number));
  }

  /** How many of the largest logits decide a token. */
  candidates() {
    const count = new BigUint64Array(1);
    return Handle.inTurn([this], (generation) => {
      call('ortshard_generation_candidates', generation, count);
      return Number(count[0]);
    });
  }

  /** Of one that is remote: the next step, with all logits of the run, or with the largest ones and their tokens. */
  async stepWith(logits = new Float32Array(), tokens = null) {
    if (!(logits instanceof Float32Array)) throw new TypeError('logits must be a Float32Array');
    const [values, list, bytes] = [logits.slice(), tokens && ids(tokens, 'tokens'), blank('ortshard_step')];
    if (list && list.length !== values.length) throw new RangeError(`there are ${values.length} logits, but ${list.length} tokens`);
    const places = [list, values.length ? values : null, values.length];
    return Handle.inTurn([this], async (generation) => {
      await started(generation, [], 'ortshard_generation_step_with', generation, ...places, bytes);
      return decode('ortshard_step', bytes);
    });
  }

  /** Adds text to the prompt: before the first step, or after the text has ended. */
  async appendText(value, { addSpecial = false } = {}) {
    const line = text(value, 'text');
    return Handle.inTurn([this], (generation) =>
      started(generation, [], 'ortshard_generation_append_text', generation, line, Number(addSpecial)),
    );
  }

  /** Adds tokens to the prompt. */
  async appendIds(tokens) {
    const list = ids(tokens);
    return Handle.inTurn([this], (generation) =>
      started(generation, [], 'ortshard_generation_append_ids', generation, list, list.length),
    );
  }

  /** Runs the next `most` tokens of the prompt, and gives the number of those left. */
  async prefill(most) {
    const left = new BigUint64Array(1);
    const tokens = number(most, 'size_t', 'most');
    return Handle.inTurn([this], async (generation) => {
      await started(generation, [], 'ortshard_generation_prefill', generation, tokens, left);
      return Number(left[0]);
    });
  }

  /** The next token and the text that it makes certain. */
  async step({ signal } = {}) {
    signal?.throwIfAborted();
    const bytes = blank('ortshard_step');
    return Handle.inTurn([this], async (generation) => {
      const abort = () => plain('ortshard_generation_cancel', generation);
      if (signal?.aborted) abort();
      signal?.addEventListener('abort', abort, { once: true });
      try {
        await started(generation, [], 'ortshard_generation_step', generation, bytes);
      } finally {
        signal?.removeEventListener('abort', abort);
      }
      const step = decode('ortshard_step', bytes);
      if (step.finish === Finish.CANCELLED && signal?.aborted) throw signal.reason;
      return step;
    });
  }

  /** Steps until the text ends. */
  async *steps({ signal } = {}) {
    for (;;) {
      const step = await this.step({ signal });
      yield step;
      if (step.finish !== Finish.NONE) return;
    }
  }

  [Symbol.asyncIterator]() {
    return this.steps();
  }

  /** Steps many generations at once. Each gives a step or an error. */
  static async stepBatch(generations) {
    if (!Array.isArray(generations) || !generations.every((generation) => generation instanceof Generation)) {
      throw new TypeError('generations must be an array of Generation');
    }
    const { size } = structs.ortshard_step;
    const steps = Buffer.concat(generations.map(() => blank('ortshard_step')));
    return Handle.inTurn(generations, async (...handles) => {
      const statuses = new Int32Array(handles.length).fill(-1);
      const status = await start([], 'ortshard_generation_step_batch', pointers(handles), handles.length, steps, statuses);
      if (status !== 0 && statuses.includes(-1)) throw failure(status, handles[0]);
      return handles.map((handle, at) => {
        if (statuses[at] !== StatusCode.OK) return failure(statuses[at], handle);
        return decode('ortshard_step', steps.subarray(at * size, (at + 1) * size));
      });
    });
  }

  /** Another that goes on from here on its own, on forks of the requests. */
  fork() {
    const handle = new BigUint64Array(1);
    return Handle.inTurn([this], async (generation) => {
      await started(generation, [], 'ortshard_generation_fork', generation, handle);
      return new Generation(new Made(handle[0]));
    });
  }

  /** All that it needs to go on, to be kept or sent. */
  exportState() {
    return exported(this, 'ortshard_generation_export_state');
  }

  /** Puts it where the one was that exported the state, and that was made alike. */
  importState(state) {
    return imported(this, 'ortshard_generation_import_state', state);
  }

  /** The logits that the last token was chosen from, with the option keepLogits. */
  logits() {
    return Handle.inTurn([this], (generation) => filled('ortshard_generation_logits', generation, [], Float32Array));
  }

  /** Ends the text with the step in progress, or the next one. */
  cancel() {
    call('ortshard_generation_cancel', this.handle);
  }
}
