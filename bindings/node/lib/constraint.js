// Grammars: what a text must look like, as a rule for the next token.

import { Grammar } from './generated/constants.js';
import { Handle, started } from './handle.js';
import { call, filled, made } from './library.js';
import { ids, number, text } from './memory.js';
import { Tokenizer } from './tokenizer.js';

/** A grammar as text, and the kind that it is: an object is a JSON schema. */
export function grammarOf(grammar, kind) {
  if (typeof grammar !== 'object' || grammar === null) return [grammar, kind ?? Grammar.NONE];
  return [JSON.stringify(grammar), kind ?? Grammar.JSON_SCHEMA];
}

/** A grammar, and how far a text has come in it. */
export class Constraint extends Handle {
  static own(handle) {
    return new Constraint(handle, 'ortshard_constraint_free');
  }

  /** Compiles a grammar at the start of a text, on another thread. */
  static async compile(tokenizer, grammar, { kind, eos = [] } = {}) {
    if (!(tokenizer instanceof Tokenizer)) throw new TypeError('tokenizer must be a Tokenizer');
    const [given, named] = grammarOf(grammar, kind);
    const parameters = [number(named, 'int32_t', 'kind'), text(given, 'grammar')];
    const [ends, handle] = [ids(eos, 'eos'), new BigUint64Array(1)];
    return Handle.inTurn([tokenizer], async (words) => {
      await started(words, [], 'ortshard_constraint_create', words, ...parameters, ends, ends.length, handle);
      return Constraint.own(handle[0]);
    });
  }

  /** Another that goes on from here on its own, without compiling. */
  clone() {
    return Constraint.own(made('ortshard_constraint_clone', this.handle));
  }

  /** Sets the logits of the tokens that may not come next to -Infinity, in the array itself. */
  mask(logits) {
    if (!(logits instanceof Float32Array)) throw new TypeError('logits must be a Float32Array');
    call('ortshard_constraint_mask', this.handle, logits, logits.length);
  }

  /** Takes the next token. */
  advance(id) {
    call('ortshard_constraint_advance', this.handle, ids([id])[0]);
  }

  /** The tokens that must come next, whatever the logits; often there are none. */
  knownIds() {
    return Array.from(filled('ortshard_constraint_known_ids', this.handle, []), Number);
  }
}
