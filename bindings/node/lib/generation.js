// Text in progress, pulled token by token, and whole models that write it.

import { Engine } from './engine.js';
import { Finish, StatusCode } from './generated/constants.js';
import { structs } from './generated/layout.js';
import { Handle, started } from './handle.js';
import { OrtshardError, call, failure, filled, made, plain, start } from './library.js';
import { blank, decode, encode, ids, number, pointers, text } from './memory.js';
import { Request } from './request.js';
import { ChatParser } from './tokenizer.js';

/** A text in progress on requests that are a whole model together. */
export class Generation extends Handle {
  constructor(requests, { tokenizer = null, ...options } = {}) {
    const list = Array.isArray(requests) ? requests : [requests];
    if (!list.every((request) => request instanceof Request)) throw new TypeError('requests must be an array of Request');
    const kept = [];
    const handles = pointers(list.map((request) => request.handle));
    const given = encode('ortshard_generation_options', options, kept);
    super(made('ortshard_generation_create', handles, list.length, tokenizer?.handle ?? null, given), 'ortshard_generation_free');
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

  /** The logits that the last token was chosen from, with the option keepLogits. */
  logits() {
    return Handle.inTurn([this], (generation) => filled('ortshard_generation_logits', generation, [], Float32Array));
  }

  /** Ends the text with the step in progress, or the next one. */
  cancel() {
    call('ortshard_generation_cancel', this.handle);
  }
}

/** A whole model with its tokenizer. */
export class Model {
  constructor(engine, shard, tokenizer) {
    Object.assign(this, { engine, shard, tokenizer });
  }

  /** Loads the model in a folder, or of a name on the hub. `options` are those of Engine, and of the model. */
  static async load(model, { signal, onProgress, revision, ...options } = {}) {
    signal?.throwIfAborted();
    const engine = new Engine(options);
    try {
      const spec = { model, revision };
      const tokenizer = await engine.openTokenizer(spec, { signal }).catch((error) => {
        if (error.status === StatusCode.NOT_FOUND) return null;
        throw error;
      });
      return new Model(engine, await engine.ensureShard(spec, { signal, onProgress }), tokenizer);
    } catch (error) {
      engine.close();
      throw error;
    }
  }

  /** A generation on a request of its own. `options` are those of Generation, with those of a request under `request`. */
  createGeneration({ request, ...options } = {}) {
    const own = this.shard.createRequest(request);
    try {
      return new Generation([own], { tokenizer: this.tokenizer, ...options });
    } finally {
      own.close(); // the generation keeps what it needs
    }
  }

  /** Writes on behind a prompt, which is a text or token ids: gives the text piece by piece. */
  async *generate(prompt, options) {
    for await (const { text: piece } of this.generateSteps(prompt, options)) if (piece) yield piece;
  }

  /** Writes on behind a prompt: gives each token with what is known of it. */
  async *generateSteps(prompt, { addSpecial = true, signal, ...options } = {}) {
    signal?.throwIfAborted();
    const generation = this.createGeneration(options);
    try {
      if (typeof prompt === 'string') await generation.appendText(prompt, { addSpecial });
      else await generation.appendIds(prompt);
      yield* generation.steps({ signal });
    } finally {
      generation.close();
    }
  }

  /** Answers messages: gives the answer's parts as they become certain. `chat` has the options of the chat template. */
  chat(messages, { chat = {}, ...options } = {}) {
    return new Answer(this, messages, chat, options);
  }

  /** Gives the memory of shard, tokenizer and engine back. */
  close() {
    for (const part of [this.shard, this.tokenizer, this.engine]) part?.close();
  }

  [Symbol.dispose]() {
    this.close();
  }
}

/** An answer that is being written. */
class Answer {
  #parts;

  constructor(model, messages, chat, options) {
    this.message = null;
    this.finish = Finish.NONE;
    this.#parts = this.#written(model, messages, { addGenerationPrompt: !chat.continueField, ...chat }, options);
  }

  [Symbol.asyncIterator]() {
    return this.#parts;
  }

  async *#written(model, messages, chat, options) {
    if (!model.tokenizer) throw new OrtshardError(StatusCode.INVALID_STATE, 'the model has no tokenizer');
    const prompt = model.tokenizer.chatText(messages, chat);
    const parser = new ChatParser(model.tokenizer, { prompt, tools: chat.tools });
    try {
      const tokens = model.tokenizer.chatIds(messages, chat);
      for await (const step of model.generateSteps(tokens, { keepSpecial: true, ...options })) {
        this.finish = step.finish;
        yield* parser.push(step.text);
      }
      yield* parser.finish();
      this.message = parser.message();
    } finally {
      parser.close();
    }
  }
}
