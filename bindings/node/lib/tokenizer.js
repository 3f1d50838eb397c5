// Text to token ids and back, and chats to prompts.

import { NO_ID } from './generated/constants.js';
import { Handle } from './handle.js';
import { call, filled, filledText, made } from './library.js';
import { address, copy, encode, ids, pointers, text } from './memory.js';

const numbers = (list) => Array.from(list, Number);

/** Messages, tools and the like: objects, which travel as JSON. */
function json(value, name) {
  const written = typeof value === 'string' ? value : JSON.stringify(value);
  if (written === undefined) throw new TypeError(`${name} must be what JSON can say`);
  return written;
}

/** Options with their objects as JSON. */
export const written = (options, names) => {
  const given = names.filter((name) => options[name] !== undefined).map((name) => [name, json(options[name], name)]);
  return { ...options, ...Object.fromEntries(given) };
};

/** Text to token ids and back. */
export class Tokenizer extends Handle {
  static own(handle) {
    return new Tokenizer(handle, 'ortshard_tokenizer_free');
  }

  /** Opens the tokenizer of a model folder, or a tokenizer.json. */
  static open(path) {
    return Tokenizer.own(made('ortshard_tokenizer_open', text(path, 'path')));
  }

  /** The token ids of a text. */
  encode(value, { addSpecial = false, specialAsText = false } = {}) {
    const line = text(value, 'text');
    const options = encode('ortshard_encode_options', { addSpecial, specialAsText }, []);
    const texts = [pointers([address(line)]), 1, options];
    // There are hardly more ids than bytes.
    return numbers(filled('ortshard_tokenizer_encode_texts', this.handle, texts, BigInt64Array, line.length + 64, null));
  }

  /** The text of token ids. */
  decode(tokens, { skipSpecial = false } = {}) {
    const list = ids(tokens);
    return filledText('ortshard_tokenizer_decode', this.handle, list, list.length, Number(skipSpecial));
  }

  /** Tokens, added ones included. */
  get vocabSize() {
    const size = new BigUint64Array(1);
    call('ortshard_tokenizer_vocab_size', this.handle, size);
    return Number(size[0]);
  }

  /** The id that begins a sequence, or null. */
  get bos() {
    return this.#id('ortshard_tokenizer_bos');
  }

  /** The ids that end one. */
  get eos() {
    return numbers(filled('ortshard_tokenizer_eos', this.handle, []));
  }

  /** The id of a token by its spelling in the vocabulary, or null. */
  tokenToId(token) {
    return this.#id('ortshard_tokenizer_token_to_id', text(token, 'token'));
  }

  /** The spelling of a token in the vocabulary. */
  idToToken(id) {
    return filledText('ortshard_tokenizer_id_to_token', this.handle, ids([id])[0]);
  }

  #id(name, ...parameters) {
    const id = new BigInt64Array(1);
    call(name, this.handle, ...parameters, id);
    return Number(id[0]) === NO_ID ? null : Number(id[0]);
  }

  /** The prompt that the model's chat template makes of messages. */
  chatText(messages, options = {}) {
    const kept = [];
    return filledText('ortshard_tokenizer_chat_text', this.handle, ...chat(messages, options, kept));
  }

  /** The token ids of that prompt. */
  chatIds(messages, options = {}) {
    const kept = [];
    return numbers(filled('ortshard_tokenizer_chat_ids', this.handle, chat(messages, options, kept)));
  }
}

const chat = (messages, options, kept) => [
  text(json(messages, 'messages'), 'messages'),
  encode('ortshard_chat_options', written(options, ['tools', 'documents', 'variables']), kept),
];

/** Decodes token by token and gives text in whole characters. */
export class TextStream extends Handle {
  constructor(tokenizer, { skipSpecial = false } = {}) {
    super(made('ortshard_text_stream_create', tokenizer.handle, Number(skipSpecial)), 'ortshard_text_stream_free');
  }

  /** The text that a token makes certain. */
  push(id) {
    return this.#given('ortshard_text_stream_push', ids([id])[0]);
  }

  /** The text that was held back. */
  finish() {
    return this.#given('ortshard_text_stream_finish');
  }

  #given(name, ...parameters) {
    const [place, length] = [new BigUint64Array(1), new BigUint64Array(1)];
    call(name, this.handle, ...parameters, place, length);
    return copy(place[0], length[0]).toString('utf8');
  }
}
