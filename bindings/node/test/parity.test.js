// What transformers says, in every way that the package has of saying it.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { STORIES, TINY, golden, greedy, models } from './common.js';
import {
  Dtype, Engine, FileState, Finish, Generation, Logits, Model, Output, Precision, Role, Sampler, batchInfer, batchSample, chainInfer,
  chainSample, frameInfo, frameParts, frameSize,
} from '../lib/index.js';

const GREEDY = { sampling: { temperature: 0 } };

/** Requests on the layers up to and behind `cut`, each on an engine of its own. */
async function twoRequests(folder, cut, options) {
  const ranges = [{ lastLayer: cut }, { firstLayer: cut + 1 }];
  return Promise.all(
    ranges.map(async (range) => {
      const engine = new Engine();
      const shard = await engine.ensureShard({ model: folder, ...range });
      engine.close();
      return shard.createRequest(options);
    }),
  );
}

test('every model gives the greedy ids of transformers', async () => {
  const all = models();
  assert.ok(all.length > 50);
  for (const { folder, prompt, greedy: expected } of all) {
    const model = await Model.load(folder);
    const steps = model.generateSteps(prompt, { ...GREEDY, maxNewTokens: expected.length, ignoreEos: true });
    const tokens = [];
    for await (const step of steps) tokens.push(step.id);
    assert.deepEqual(tokens, expected, folder);
  }
});

test('requests, logits and samplers give the same ids', async () => {
  const { folder, prompt, greedy: expected } = golden(TINY);
  const engine = new Engine();
  const shard = await engine.ensureShard(folder);
  const [one, two] = [shard.createRequest(), shard.createRequest({ prefillChunk: 5 })];
  const sampler = new Sampler({ temperature: 0 });
  assert.deepEqual(await greedy((input) => one.sample(input), prompt, expected.length), expected);
  const chosen = async (input) => sampler.sample(await two.logits(input));
  assert.deepEqual(await greedy(chosen, prompt, expected.length), expected);
  assert.equal(two.position, prompt.length + expected.length - 1);
  assert.ok(two.capacity >= two.position);
  sampler.reset();
  sampler.accept(prompt);
  const again = shard.createRequest();
  assert.equal(await again.sample(BigInt64Array.from(prompt, BigInt), sampler), expected[0]);
});

test('two shards are one, by hidden states, frames and chains', async () => {
  const { folder, prompt, greedy: expected } = golden(TINY);
  const [front, back] = await twoRequests(folder, 0);
  const byHand = async (input) => back.sample(await front.infer(input));
  // A shard that is not the first takes tensors, also to sample.
  assert.deepEqual(await greedy(byHand, prompt, expected.length), expected);

  const [first, last] = await twoRequests(folder, 1, { output: Output.FRAME });
  const [plain] = await twoRequests(folder, 1);
  const byFrame = async (input) => {
    const { dtype, shape, data } = await first.infer(input);
    assert.equal(dtype, Dtype.FRAME);
    assert.deepEqual([frameSize(data.subarray(0, 32)), ...shape], [data.length, data.length]);
    assert.equal(frameInfo(data).position, last.position);
    assert.deepEqual(frameParts(data), [{ role: Role.HIDDEN_STATES, ...(await plain.infer(input)) }]);
    return last.sample(data);
  };
  assert.deepEqual(await greedy(byFrame, prompt, expected.length), expected);

  const chain = await twoRequests(folder, 1);
  assert.deepEqual(await greedy((input) => chainSample(chain, input), prompt, expected.length), expected);
  const pair = await twoRequests(folder, 0);
  const all = await chainInfer(pair, prompt, { logits: Logits.ALL });
  assert.deepEqual(all.shape.slice(0, 2), [1, prompt.length]);
  const generation = new Generation(await twoRequests(folder, 0), { ...GREEDY, maxNewTokens: expected.length, ignoreEos: true });
  await generation.appendIds(prompt);
  const tokens = [];
  for await (const { id } of generation) tokens.push(id);
  assert.deepEqual(tokens, expected);
});

test('an engine tells what a model needs, and empties its cache', async () => {
  const packCache = mkdtempSync(`${tmpdir()}/ortshard-node-`);
  try {
    const engine = new Engine({ offline: true, packCache, precision: Precision.INT8 });
    const files = await engine.auditFiles({ model: TINY, lastLayer: 0 });
    const sizes = ['config.json', 'model.safetensors'].map((name) => [`${TINY}/${name}`, statSync(`${TINY}/${name}`).size]);
    assert.deepEqual(files.map(({ path, size }) => [path, size]), sizes);
    assert.ok(files.every(({ state }) => state === FileState.PRESENT));
    assert.deepEqual(await engine.modelEos(TINY), [2]);
    (await engine.ensureShard(TINY)).close();
    assert.ok((await engine.clearPackCache()) > 1000);
    assert.equal(await engine.clearPackCache(), 0);
    await assert.rejects(engine.auditFiles(`${TINY}/none`), { code: 'NOT_FOUND' });
  } finally {
    rmSync(packCache, { recursive: true });
  }
});

test('outputs are copies, and inputs are read when the call is made', async () => {
  const { folder, prompt } = golden(TINY);
  const engine = new Engine();
  const request = (await engine.ensureShard(folder)).createRequest();
  const logits = await request.logits(prompt);
  const before = logits.slice();
  await request.logits([1]);
  request.close();
  assert.deepEqual(logits, before);

  const other = (await engine.ensureShard(folder)).createRequest();
  const ids = BigInt64Array.from(prompt, BigInt);
  const running = other.logits(ids);
  ids.fill(0n);
  structuredClone(ids.buffer, { transfer: [ids.buffer] });
  assert.deepEqual(await running, before);
});

test('forks, states and truncation go on where they were', async () => {
  const { folder, prompt, greedy: expected } = golden(TINY);
  const engine = new Engine();
  const shard = await engine.ensureShard(folder);
  const request = shard.createRequest();
  assert.equal(await request.sample(prompt), expected[0]);
  const fork = await request.fork();
  const state = await request.exportState();
  assert.deepEqual(await greedy((input) => request.sample(input), [expected[0]], 5), expected.slice(1, 6));
  assert.deepEqual(await greedy((input) => fork.sample(input), [expected[0]], 5), expected.slice(1, 6));
  const elsewhere = shard.createRequest();
  await elsewhere.importState(state);
  assert.equal(elsewhere.position, prompt.length);
  assert.deepEqual(await greedy((input) => elsewhere.sample(input), [expected[0]], 5), expected.slice(1, 6));
  // What one has gained since, the other takes.
  await elsewhere.truncate(prompt.length + 1);
  await elsewhere.importState(await request.exportStateSince(prompt.length + 1));
  assert.equal(elsewhere.position, request.position);
  assert.equal(await elsewhere.sample([expected[5]]), expected[6]);
  await request.truncate(prompt.length);
  assert.equal(await request.sample([expected[0]]), expected[1]);
});

test('many at once get what each gets alone', async () => {
  const { folder, prompt, greedy: expected } = golden(TINY);
  const engine = new Engine();
  const shard = await engine.ensureShard(folder);
  const alone = await Promise.all(
    Array.from({ length: 40 }, () => {
      const request = shard.createRequest();
      return greedy((input) => request.sample(input), prompt, 8);
    }),
  );
  for (const tokens of alone) assert.deepEqual(tokens, expected.slice(0, 8));

  const requests = Array.from({ length: 5 }, () => shard.createRequest());
  assert.deepEqual(await batchSample(requests, requests.map(() => prompt)), Array(5).fill(expected[0]));
  const samplers = requests.map(() => new Sampler({ temperature: 0 }));
  assert.deepEqual(await batchSample(requests, requests.map(() => [expected[0]]), samplers), Array(5).fill(expected[1]));
  const outputs = await batchInfer(requests, requests.map(() => [expected[1]]));
  for (const { data } of outputs) assert.equal(data.indexOf(Math.max(...data)), expected[2]);

  const model = await Model.load(folder);
  const generations = requests.map(() => model.createGeneration({ ...GREEDY, maxNewTokens: 6, ignoreEos: true }));
  await Promise.all(generations.map((generation) => generation.appendIds(prompt)));
  const steps = [];
  for (let at = 0; at < 6; at += 1) steps.push(await Generation.stepBatch(generations));
  assert.deepEqual(steps.map((row) => row.map((step) => step.id)), expected.slice(0, 6).map((id) => Array(5).fill(id)));
  assert.ok(steps.at(-1).every((step) => step.finish === Finish.LENGTH));
});

test('what is streamed is the whole', async () => {
  const model = await Model.load(STORIES);
  const options = { maxNewTokens: 60, sampling: { temperature: 0.8, seed: 7n } };
  const [pieces, tokens] = [[], []];
  for await (const piece of model.generate('Once upon a time', options)) pieces.push(piece);
  for await (const step of model.generateSteps('Once upon a time', options)) tokens.push(step.id);
  assert.ok(pieces.length > 10);
  assert.equal(pieces.join(''), model.tokenizer.decode(tokens, { skipSpecial: true }));
});

test('a step tells logits, probabilities and why a text ends', async () => {
  const model = await Model.load(STORIES);
  const options = { ...GREEDY, logprobs: 3, keepLogits: true, stop: ['zebra', '.'], includeStop: true };
  const generation = model.createGeneration(options);
  await generation.appendText('Once upon a time', { addSpecial: true });
  assert.ok((await generation.prefill(2)) > 0);
  let step = await generation.step();
  const logits = await generation.logits();
  assert.equal(logits.indexOf(Math.max(...logits)), step.id);
  assert.deepEqual([step.best.length, step.best[0].id], [3, step.id]);
  assert.ok(step.logprob <= 0 && step.logprob === step.best[0].logprob && typeof step.best[0].text === 'string');
  let text = step.text;
  while (step.finish === Finish.NONE) text += (step = await generation.step()).text;
  assert.deepEqual([step.finish, step.stop], [Finish.STOP, 1]);
  assert.ok(text.endsWith('.'));
  await generation.appendText(' Then');
  assert.notEqual((await generation.step()).id, -1);
});
