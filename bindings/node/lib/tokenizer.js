// Text to token ids and back, and chats to prompts.

import { NO_ID, StatusCode } from './generated/constants.js';
import { Handle } from './handle.js';
import { call, failure, filled, filledText, made, plain } from './library.js';
import { address, copy, encode, ids, pointers, text } from './memory.js';

const numbers = (list) => Array.from(list, Number);
const encoding = (options = {}) => encode('ortshard_encode_options', options, []);

/** Where in a string the character is to which each byte of its UTF-8 belongs. */
function places(string) {
  const list = new Uint32Array(Buffer.byteLength(string) + 1);
  let [byte, at] = [0, 0];
  for (const character of string) {
    list.fill(at, byte, (byte += Buffer.byteLength(character)));
    at += character.length;
  }
  list[byte] = at;
  return list;
}

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
  encode(value, options) {
    const line = text(value, 'text');
    const texts = [pointers([address(line)]), 1, encoding(options)];
    // There are hardly more ids than bytes.
    return numbers(filled('ortshard_tokenizer_encode_texts', this.handle, texts, BigInt64Array, line.length + 64, null));
  }

  /** The token ids of each of many texts. */
  encodeTexts(values, options) {
    if (!Array.isArray(values)) throw new TypeError('texts must be an array');
    const lines = values.map((value, at) => text(value, `texts[${at}]`));
    const ends = new BigUint64Array(lines.length);
    const given = [pointers(lines.map(address)), lines.length, encoding(options)];
    const room = lines.reduce((sum, line) => sum + line.length, 64);
    const all = numbers(filled('ortshard_tokenizer_encode_texts', this.handle, given, BigInt64Array, room, ends));
    return lines.map((_, at) => all.slice(at && Number(ends[at - 1]), Number(ends[at])));
  }

  /** How many token ids a text has. */
  count(value, options) {
    const [line, needed] = [text(value, 'text'), new BigUint64Array(1)];
    call('ortshard_tokenizer_encode_texts', this.handle, pointers([address(line)]), 1, encoding(options), null, 0, needed, null);
    return Number(needed[0]);
  }

  /** The token ids of a text, and for each the part of the text that it stands for. */
  encodeWithRanges(value, options) {
    const [line, needed] = [text(value, 'text'), new BigUint64Array(1)];
    const characters = places(value);
    for (let room = line.length + 64; ; room = Number(needed[0])) {
      const [list, ranges] = [new BigInt64Array(room), new BigUint64Array(2 * room)];
      const given = [line, encoding(options), list, ranges, room, needed];
      const status = plain('ortshard_tokenizer_encode_with_ranges', this.handle, ...given);
      if (status !== StatusCode.OK && status !== StatusCode.BUFFER_TOO_SMALL) throw failure(status, null);
      if (status !== StatusCode.OK) continue;
      return Array.from(list.subarray(0, Number(needed[0])), (id, at) => {
        const [start, end] = [ranges[2 * at], ranges[2 * at + 1]].map((byte) => characters[Number(byte)]);
        return { id: Number(id), start, end };
      });
    }
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

  /** The id that fills up rows, or null. */
  get pad() {
    return this.#id('ortshard_tokenizer_pad');
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

  /** The bytes that a token adds to a text, which need not be whole characters. */
  tokenBytes(id) {
    return filled('ortshard_tokenizer_token_bytes', this.handle, [ids([id])[0]], Uint8Array, 256);
  }

  /** Whether a text ends with a token. */
  isEos(id) {
    return this.#is('ortshard_tokenizer_is_eos', id);
  }

  /** Whether a token is a special one. */
  isSpecial(id) {
    return this.#is('ortshard_tokenizer_is_special', id);
  }

  #is(name, id) {
    const is = new Int32Array(1);
    call(name, this.handle, ids([id])[0], is);
    return is[0] !== 0;
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
