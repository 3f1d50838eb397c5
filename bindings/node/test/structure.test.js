// Texts of a grammar, and generations that are copied and moved.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STORIES, TINY, golden } from './common.js';
import { Constraint, Engine, Finish, Generation, Grammar, Model, Sampler, StatusCode } from '../lib/index.js';

const read = async (pieces) => {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
};
const rest = async (generation) => {
  const tokens = [];
  for await (const step of generation) tokens.push(step.id);
  return tokens;
};
const status = (name, words) => ({ name: 'OrtshardError', status: StatusCode[name], message: words });
const SCHEMA = {
  type: 'object',
  properties: { name: { enum: ['fox', 'owl'] }, age: { type: 'integer', minimum: 0, maximum: 99 } },
  required: ['name', 'age'],
  additionalProperties: false,
};

test('texts match their grammar, which is a schema, an expression or Lark', async () => {
  const model = await Model.load(STORIES);
  for (const seed of [1, 2, 3, 4, 5]) {
    const sampling = { temperature: 1, topK: 0, seed };
    const told = JSON.parse(await read(model.generate('A fox', { sampling, grammar: SCHEMA })));
    assert.deepEqual(Object.keys(told).sort(), ['age', 'name']);
    assert.ok(['fox', 'owl'].includes(told.name) && Number.isInteger(told.age) && told.age <= 99);
    const written = { sampling, grammar: JSON.stringify(SCHEMA), grammarKind: Grammar.JSON_SCHEMA };
    assert.deepEqual(JSON.parse(await read(model.generate('A fox', written))), told);
    const expression = { sampling, grammar: '[a-z ]{5,9}[0-9]', grammarKind: Grammar.REGEX };
    assert.match(await read(model.generate('A fox', expression)), /^[a-z ]{5,9}[0-9]$/);
    const lark = { sampling, grammar: 'start: "yes" | "no" "!"+', grammarKind: Grammar.LARK };
    assert.match(await read(model.generate('A fox', lark)), /^(yes|no!+)$/);
  }
  const faulty = model.generate('A fox', { grammar: '(', grammarKind: Grammar.REGEX });
  await assert.rejects(read(faulty), status('INVALID_ARGUMENT', /regular expression/));
  assert.throws(() => model.createGeneration({ grammar: { type: 'nothing' } }), status('INVALID_ARGUMENT', /Invalid type: nothing/));
  assert.throws(() => model.createGeneration({ constraint: {} }), TypeError);
});

test('a constraint rules out tokens in a loop of one\'s own, and serves many generations', async () => {
  const { tokenizer, shard, ...model } = await Model.load(STORIES);
  const compiled = await Constraint.compile(tokenizer, '(one|two), (one|two)', { kind: Grammar.REGEX });
  const request = shard.createRequest();
  const sampler = new Sampler({ temperature: 1, topK: 0, seed: 3 });
  const own = compiled.clone();
  let [input, tokens] = [tokenizer.encode('Say', { addSpecial: true }), []];
  for (;;) {
    const logits = await request.logits(input);
    const known = own.knownIds();
    own.mask(logits);
    const id = known[0] ?? sampler.sample(logits);
    assert.ok(Number.isFinite(logits[id]));
    own.advance(id);
    if (tokenizer.isEos(id)) break;
    tokens.push(id);
    input = [id];
  }
  assert.match(tokenizer.decode(tokens), /^(one|two), (one|two)$/);
  assert.throws(() => own.advance(tokens[0]), status('INVALID_ARGUMENT', /ended/));

  const whole = new Model(model.engine, shard, tokenizer);
  for (const seed of [1, 2]) {
    const pieces = whole.generate('Say', { constraint: compiled, sampling: { topK: 0, seed } });
    assert.match(await read(pieces), /^(one|two), (one|two)$/);
  }
  const both = { constraint: compiled, grammar: 'x', grammarKind: Grammar.REGEX };
  await assert.rejects(read(whole.generate('Say', both)), status('INVALID_ARGUMENT', /so is constraint/));
  compiled.close();
  assert.throws(() => whole.createGeneration({ constraint: compiled }), status('INVALID_STATE', /closed/));
  await assert.rejects(Constraint.compile(tokenizer, { minLength: -1 }), status('INVALID_ARGUMENT', /minLength/));
});

test('forks and states of generations go on with the same tokens', async () => {
  const { folder, prompt, greedy: expected } = golden(TINY);
  const shard = await new Engine().ensureShard(folder);
  const options = { sampling: { temperature: 0 }, ignoreEos: true, maxNewTokens: expected.length };
  const make = () => new Generation(shard.createRequest(), options);
  const generation = make();
  await generation.appendIds(prompt);
  assert.equal((await generation.step()).id, expected[0]);
  const [fork, state] = [await generation.fork(), await generation.exportState()];
  const elsewhere = make();
  await elsewhere.importState(state);
  for (const each of [generation, fork, elsewhere]) assert.deepEqual(await rest(each), expected.slice(1));

  const other = new Generation(shard.createRequest(), { ...options, maxNewTokens: 3 });
  await assert.rejects(other.importState(state), status('INVALID_ARGUMENT', /max_new_tokens/));
  const damaged = Uint8Array.from(state, (byte, at) => (at === state.length >> 1 ? byte ^ 1 : byte));
  await assert.rejects(other.importState(damaged), status('MALFORMED', /./));
  await assert.rejects(other.importState('state'), TypeError);
  await other.appendIds(prompt);
  assert.deepEqual(await rest(other), expected.slice(0, 3));
});

test('a program runs the tokens of a generation by itself', async () => {
  const { folder, prompt, greedy: expected } = golden(TINY);
  const shard = await new Engine().ensureShard(folder);
  const options = { sampling: { temperature: 0 }, ignoreEos: true, maxNewTokens: expected.length };
  for (const onlyLargest of [false, true]) {
    const [generation, request] = [Generation.remote({ vocabSize: 128, capacity: 256 }, options), shard.createRequest()];
    await generation.appendIds(prompt);
    assert.equal(await generation.candidates(), 1);
    await assert.rejects(generation.step(), status('INVALID_STATE', /./));
    const tokens = [];
    for (let step = {}; step.finish !== Finish.LENGTH; tokens.push(step.id)) {
      const logits = await request.logits(await generation.pending());
      const largest = logits.indexOf(Math.max(...logits));
      step = await (onlyLargest ? generation.stepWith(logits.slice(largest, largest + 1), [largest]) : generation.stepWith(logits));
    }
    assert.deepEqual(tokens, expected);
    assert.deepEqual(await generation.pending(), []);
    assert.equal((await generation.stepWith()).finish, Finish.LENGTH);
    await assert.rejects(generation.stepWith(new Float32Array(2), [1]), RangeError);
  }
  assert.throws(() => Generation.remote({ vocabSize: 0, capacity: 1 }), status('INVALID_ARGUMENT', /vocab_size/));
});

test('a grammar goes on in forks and states', async () => {
  const model = await Model.load(STORIES);
  const options = { sampling: { temperature: 1.5, topK: 0, seed: 9 }, grammar: '[a-z]{30}[0-9]', grammarKind: Grammar.REGEX };
  const generation = model.createGeneration(options);
  await generation.appendText('A fox');
  let text = '';
  for (let at = 0; at < 3; at += 1) text += (await generation.step()).text;
  const [fork, elsewhere] = [await generation.fork(), model.createGeneration(options)];
  await elsewhere.importState(await generation.exportState());
  for (const each of [fork, elsewhere]) {
    let [more, step] = [text, null];
    do more += (step = await each.step()).text;
    while (step.finish === Finish.NONE);
    assert.match(more, /^[a-z]{30}[0-9]$/);
  }
});
