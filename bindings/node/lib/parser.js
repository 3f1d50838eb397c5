// A model's answer, parsed while it is written.

import { ChatEventKind } from './generated/constants.js';
import { Handle } from './handle.js';
import { call, filledText, made } from './library.js';
import { blank, decode, encode } from './memory.js';
import { written } from './tokenizer.js';

const KINDS = {
  [ChatEventKind.CONTENT]: 'content',
  [ChatEventKind.REASONING]: 'reasoning',
  [ChatEventKind.TOOL_CALL]: 'tool_call',
};

/** Parses a model's answer while it is written. */
export class ChatParser extends Handle {
  constructor(tokenizer, options = {}) {
    const kept = [];
    const given = encode('ortshard_chat_parser_options', written(options, ['tools']), kept);
    super(made('ortshard_chat_parser_create', tokenizer.handle, given), 'ortshard_chat_parser_free');
  }

  /** Takes more of the answer, and gives what it makes certain. */
  push(piece) {
    if (typeof piece !== 'string') throw new TypeError('the piece must be a string');
    const bytes = Buffer.from(piece);
    if (bytes.length) call('ortshard_chat_parser_push', this.handle, bytes, bytes.length);
    return this.#events();
  }

  /** The answer has ended: gives what was held back. */
  finish() {
    call('ortshard_chat_parser_finish', this.handle);
    return this.#events();
  }

  #events() {
    const events = [];
    for (;;) {
      const bytes = blank('ortshard_chat_event');
      call('ortshard_chat_parser_next', this.handle, bytes);
      const { kind, text: said, name, id } = decode('ortshard_chat_event', bytes);
      if (kind === ChatEventKind.NOTHING) return events;
      const event = { kind: KINDS[kind] ?? kind };
      if (kind === ChatEventKind.TOOL_CALL) Object.assign(event, { name, id, arguments: said });
      else event.text = said;
      events.push(event);
    }
  }

  /** The whole message so far. */
  message() {
    return JSON.parse(filledText('ortshard_chat_parser_message', this.handle));
  }
}
