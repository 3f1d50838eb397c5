// Whole models, which write text and answer messages.

import { Constraint } from './constraint.js';
import { Engine } from './engine.js';
import { Finish, StatusCode } from './generated/constants.js';
import { Generation } from './generation.js';
import { OrtshardError } from './library.js';
import { ChatParser } from './parser.js';

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
    const generation = await this.#begun(options);
    try {
      if (typeof prompt === 'string') await generation.appendText(prompt, { addSpecial });
      else await generation.appendIds(prompt);
      yield* generation.steps({ signal });
    } finally {
      generation.close();
    }
  }

  /** A generation, whose grammar is compiled on another thread: that can take a second. */
  async #begun(options) {
    const { grammar, grammarKind: kind, ...others } = options;
    if (grammar === undefined || options.constraint || !this.tokenizer) return this.createGeneration(options);
    const constraint = await Constraint.compile(this.tokenizer, grammar, { kind, eos: options.sampling?.eos });
    try {
      return this.createGeneration({ constraint, ...others });
    } finally {
      constraint.close(); // the generation has a copy
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
