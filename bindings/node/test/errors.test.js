// What goes wrong is told by the call that it went wrong in, and does no harm.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { STORIES, TINY, golden, root } from './common.js';
import {
  Dtype, Engine, Generation, Model, OomSite, OrtshardError, Sampler, Stage, StatusCode, Tokenizer, batchInfer, chainInfer, chainSample,
  loadLibrary, loadRuntime, modelInfo, version,
} from '../lib/index.js';

const scratch = mkdtempSync(`${tmpdir()}/ortshard-node-`);
after(() => rmSync(scratch, { recursive: true }));

const code = (name, message) => (error) => {
  assert.ok(error instanceof OrtshardError, error);
  assert.deepEqual([error.code, error.status], [name, StatusCode[name]], error.message);
  assert.match(error.message, message);
  return true;
};

test('a library of another layout is refused by name', () => {
  const { functions } = JSON.parse(readFileSync(`${root}include/ortshard.json`, 'utf8'));
  const stub = (name) => `long ${name}(void) { return 0; }`;
  const library = (name, lines) => {
    const [source, made] = [`${scratch}/${name}.c`, `${scratch}/${name}.so`];
    writeFileSync(source, lines.join('\n'));
    const built = spawnSync(process.env.CC ?? 'cc', ['-shared', '-fPIC', source, '-o', made], { encoding: 'utf8' });
    assert.equal(built.status, 0, built.stderr);
    return made;
  };
  const none = library('none', ['int unrelated;']);
  const later = library('later', ['unsigned ortshard_abi_version(void) { return 99; }']);
  const poor = library('poor', [stub('ortshard_abi_version'), stub('ortshard_version')]);
  const other = library('other', Object.keys(functions).map(stub));
  const script = `
    import { loadLibrary } from ${JSON.stringify(new URL('../lib/index.js', import.meta.url))};
    for (const path of process.argv.slice(1)) try { loadLibrary(path); } catch (error) { console.log(error.code, error.message); }`;
  const paths = [none, later, poor, other, `${scratch}/absent.so`];
  const ran = spawnSync(process.execPath, ['--input-type=module', '-e', script, ...paths], { encoding: 'utf8' });
  assert.equal(ran.status, 0, ran.stderr);
  const said = ran.stdout.trim().split('\n');
  const expected = [
    /^VERSION_MISMATCH .*none\.so.*no function ortshard_abi_version/,
    /^VERSION_MISMATCH .*later\.so.*ABI version is 99, not 0/,
    /^VERSION_MISMATCH .*poor\.so.*no function ortshard_status_name/,
    /^VERSION_MISMATCH .*other\.so.*ortshard_shard_spec has another lastLayer/,
    /^NOT_FOUND .*absent\.so cannot be loaded/,
  ];
  assert.equal(said.length, expected.length, ran.stdout);
  expected.forEach((words, at) => assert.match(said[at], words));
});

test('whatever the library can do is reached, or left out for a reason', () => {
  const { functions } = JSON.parse(readFileSync(`${root}include/ortshard.json`, 'utf8'));
  const own = new URL('../lib/', import.meta.url);
  const sources = readdirSync(own).filter((name) => name.endsWith('.js')).map((name) => readFileSync(new URL(name, own), 'utf8')).join();
  const leftOut = {
    ortshard_status_name: 'names are constants',
    ortshard_shard_retain: 'what is shared is an object',
    ortshard_request_logits: 'infer() gives them',
    ortshard_request_sample: 'chainSample() takes one request, too',
    ortshard_request_infer_into: 'outputs are copies',
    ortshard_request_frame_pieces: 'frames come whole',
    ortshard_tokenizer_encode: 'that of many texts takes one, too',
    ortshard_tokenizer_apply_chat_template: 'chatText() takes any messages',
    ortshard_generation_open: 'Model.load() does it',
    ortshard_generation_run: 'steps() does it',
    ortshard_model_eos: 'an engine tells it',
    ortshard_model_get_sampler_options: 'an engine tells them',
    ortshard_model_get_boundary: 'an engine tells it',
    ortshard_log_set_callback: 'threads that log would wait for the event loop',
  };
  const missing = Object.keys(functions).filter((name) => !name.endsWith('_init') && !new RegExp(`'${name}'`).test(sources));
  assert.deepEqual(missing.sort(), Object.keys(leftOut).sort());
});

test('each of many calls at once gets its own error', async () => {
  const engine = new Engine({ offline: true });
  const folders = Array.from({ length: 30 }, (_, at) => `${scratch}/absent${at}`);
  const errors = await Promise.all(folders.map((folder) => engine.ensureShard(folder).catch((error) => error)));
  errors.forEach((error, at) => code('NOT_FOUND', new RegExp(`absent${at}\\b`))(error));

  const shard = await engine.ensureShard(TINY);
  const request = shard.createRequest();
  const runs = Array.from({ length: 30 }, (_, at) => request.infer([1000 + at]).catch((error) => error));
  (await Promise.all(runs)).forEach((error, at) => code('OUT_OF_RANGE', new RegExp(`${1000 + at}`))(error));
  assert.equal(request.position, 0);
  assert.throws(() => shard.createRequest({ capacity: 1 << 30 }), code('OUT_OF_RANGE', /capacity/));
  assert.throws(() => modelInfo(`${scratch}/none`), code('NOT_FOUND', /none/));
  assert.throws(() => Tokenizer.open(scratch), code('NOT_FOUND', /tokenizer\.json/));
  assert.throws(() => new Sampler({ topP: 2 }), code('INVALID_ARGUMENT', /top_p/));
  assert.throws(() => loadRuntime({ threads: 900 }), code('INVALID_STATE', /threads/));
  const outcomes = await batchInfer([request, shard.createRequest()], [[5000], [1]]);
  code('OUT_OF_RANGE', /5000/)(outcomes[0]);
  assert.deepEqual(outcomes[1].shape, [1, 1, 128]);
});

test('memory that runs out is told with its place', async () => {
  const whole = await new Engine().estimate(TINY, { context: 64 });
  const where = (site) => (error) => {
    code('OUT_OF_MEMORY', /./)(error);
    assert.equal(error.oom.site, site);
    assert.equal(error.oom.device, 'cpu');
    return error.oom.requestedBytes > 0;
  };
  await assert.rejects(new Engine({ memoryLimit: 1000 }).ensureShard(TINY), where(OomSite.LOAD));
  const engine = new Engine({ memoryLimit: whole.loadPeakBytes + 4 * whole.kvBytes });
  const shard = await engine.ensureShard(TINY);
  const requests = [];
  assert.throws(() => {
    for (;;) requests.push(shard.createRequest({ capacity: 64 }));
  }, where(OomSite.KV));
  assert.ok(requests.length > 0);
  assert.equal(engine.stats().outOfMemoryKv, 1);
  requests.forEach((request) => request.close());
  const { prompt, greedy } = golden(TINY);
  assert.equal(await shard.createRequest({ capacity: 64 }).sample(prompt), greedy[0]);
});

test('a plan cuts a model among devices, or says what is missing', async () => {
  const engine = new Engine();
  const last = (await engine.modelInfo(TINY)).layerCount - 1;
  const parts = [{ model: TINY, firstLayer: 0, lastLayer: 0 }, { model: TINY, firstLayer: 1, lastLayer: last }];
  const needs = await Promise.all(parts.map((spec) => engine.estimate(spec, { context: 64 })));
  const devices = needs.map((need) => ({ freeMemory: Math.max(need.totalBytes, need.loadPeakBytes), isRequired: true }));
  const stages = await engine.plan(TINY, { context: 64, margin: 0, keepOrder: true, devices });
  assert.deepEqual(stages.map(({ device, firstLayer, lastLayer }) => [device, firstLayer, lastLayer]), [[0, 0, 0], [1, 1, last]]);
  assert.deepEqual(stages.map((stage) => stage.weightBytes), needs.map((need) => need.weightBytes));
  const small = [{ freeMemory: 1000 }];
  await assert.rejects(engine.plan(TINY, { context: 64, devices: small }), code('OUT_OF_MEMORY', /./));
  await assert.rejects(engine.plan(TINY, { context: 64, devices: [] }), code('INVALID_ARGUMENT', /device_count/));
  await assert.rejects(engine.plan(TINY, { devices: [{ memory: 1 }] }), /freeMemory/);
});

test('a signal cancels a run, and never the next one', async () => {
  const engine = new Engine();
  const shard = await engine.ensureShard(STORIES);
  const request = shard.createRequest();
  const prompt = Array.from({ length: 500 }, (_, at) => 3 + (at % 900));
  const stop = new AbortController();
  const running = request.infer(prompt, { signal: stop.signal });
  setImmediate(() => stop.abort());
  await assert.rejects(running, { name: 'AbortError' });
  assert.equal(request.position, 0);
  await assert.rejects(request.infer([1], { signal: stop.signal }), { name: 'AbortError' });

  const late = new AbortController();
  await request.sample([1], null, { signal: late.signal });
  late.abort();
  await request.sample([1]);
  assert.equal(request.position, 2);
  request.cancel();
  await assert.rejects(request.sample([1]), code('CANCELLED', /./));
  request.cancel();
  request.clearCancel();
  await request.sample([1]);

  // Whenever the signal comes, the run is cancelled or done, and the next one runs.
  for (let wait = 0; wait < 12; wait += 1) {
    const soon = new AbortController();
    const [other, once] = [shard.createRequest(), new Promise((resolve) => setTimeout(resolve, wait / 2))];
    const run = other.infer(prompt.slice(0, 20), { signal: soon.signal }).catch((error) => assert.equal(error, soon.signal.reason));
    await once;
    soon.abort();
    await run;
    await other.infer([1]);
    other.close();
  }
});

test('a signal ends a text, and so does leaving its loop', async () => {
  const model = await Model.load(STORIES);
  const stop = new AbortController();
  let pieces = 0;
  const reading = async () => {
    for await (const _ of model.generate('Once', { signal: stop.signal })) if ((pieces += 1) === 5) stop.abort(new Error('enough'));
  };
  await assert.rejects(reading, /^Error: enough$/);
  assert.equal(pieces, 5);
  for await (const _ of model.generate('Once')) break;
  // In the middle of a step, which runs a long prompt.
  const within = new AbortController();
  const step = model.generateSteps(Array(480).fill(5), { signal: within.signal }).next();
  const generation = model.createGeneration();
  await generation.appendIds(Array(480).fill(5));
  const stepping = generation.step({ signal: within.signal });
  setImmediate(() => within.abort());
  await Promise.all([step, stepping].map((each) => assert.rejects(each, { name: 'AbortError' })));
  await assert.rejects(model.generate('Once', { signal: stop.signal }).next(), /enough/);
});

test('loading tells how far it is, and can be cancelled', async () => {
  const engine = new Engine();
  const stages = [];
  const shard = await engine.ensureShard(TINY, { onProgress: ({ stage }) => stages.push(stage) });
  assert.deepEqual([stages[0], stages.at(-1)], [Stage.INSPECT, Stage.READY]);
  const refuses = () => {
    throw new Error('no more');
  };
  await assert.rejects(engine.ensureShard(STORIES, { onProgress: refuses }), /^Error: no more$/);
  const stop = new AbortController();
  const loading = engine.ensureShard(STORIES, { signal: stop.signal, onProgress: () => stop.abort() });
  await assert.rejects(loading, { name: 'AbortError' });
  assert.deepEqual(engine.currentShard().info(), shard.info());
});

test('what cannot be meant is refused, and closed objects are closed', async () => {
  const engine = new Engine();
  const shard = await engine.ensureShard(TINY);
  const request = shard.createRequest();
  assert.throws(() => new Engine({ memory_limit: 1 }), /TypeError: the engine options have no memory_limit: there are device,/);
  assert.throws(() => new Engine({ memoryLimit: -1 }), RangeError);
  assert.throws(() => new Engine({ memoryLimit: 0.5 }), TypeError);
  assert.throws(() => new Engine({ device: 77 }), code('INVALID_ARGUMENT', /77/));
  assert.throws(() => new Engine({ cacheDir: 'a\0b' }), /TypeError: .*cacheDir holds a NUL/);
  assert.throws(() => new Engine(null), TypeError);
  assert.throws(() => new Sampler({ banned: 3 }), /banned must be a list/);
  assert.throws(() => new Sampler({ biases: [{ ids: [1], bias: 'much' }] }), /bias must be a number/);
  await assert.rejects(engine.ensureShard(undefined), TypeError);
  await assert.rejects(engine.ensureShard({ model: '\u0000' }), TypeError);
  await assert.rejects(engine.ensureShard({ model: TINY, firstLayer: 2, lastLayer: 1 }), code('OUT_OF_RANGE', /layer/));
  await assert.rejects(engine.estimate(TINY, {}), TypeError);
  await assert.rejects(engine.estimate(TINY, { context: 2 ** 32 + 5 }), RangeError);
  for (const input of [null, 5, 'text', {}, [1.5], ['1'], [2n ** 70n], { dtype: 3, shape: [1], data: [1] }]) {
    await assert.rejects(request.infer(input), (error) => error instanceof TypeError || error instanceof RangeError);
  }
  const hidden = (shape, length) => ({ dtype: Dtype.F32, shape, data: new Float32Array(length) });
  await assert.rejects(request.infer(hidden([1, 1, 48], 48)), code('INVALID_ARGUMENT', /ids/));
  await assert.rejects(request.infer(hidden([2 ** 52, 2 ** 52], 1)), code('INVALID_ARGUMENT', /./));
  await assert.rejects(request.infer([]), code('INVALID_ARGUMENT', /./));
  await assert.rejects(request.infer(new Uint8Array(100)), code('MALFORMED', /frame/));
  await assert.rejects(request.infer([1], { logits: 9 }), code('INVALID_ARGUMENT', /9/));
  await assert.rejects(request.truncate(1), code('OUT_OF_RANGE', /./));
  await assert.rejects(request.truncate(-1), RangeError);
  await assert.rejects(request.importState(new Uint8Array(64)), code('MALFORMED', /./));
  await assert.rejects(request.importState(new Uint8Array(0)), OrtshardError);
  await assert.rejects(chainInfer([], [1]), code('INVALID_ARGUMENT', /./));
  await assert.rejects(chainInfer([request, request], [1]), code('INVALID_STATE', /in use/));
  await assert.rejects(chainInfer([shard], [1]), TypeError);
  await assert.rejects(chainSample([request], [1], {}), TypeError);
  await assert.rejects(batchInfer([request], []), RangeError);
  assert.throws(() => new Generation([request], { stop: ['a', 3] }), /stop\[1\] must be a string/);
  const model = await Model.load(TINY);
  await assert.rejects(model.generate('text').next(), code('INVALID_STATE', /tokenizer/));

  const running = request.infer(golden(TINY).prompt);
  request.close();
  request.close();
  assert.ok(request.closed);
  assert.deepEqual((await running).shape, [1, 1, 128]);
  assert.throws(() => request.position, code('INVALID_STATE', /Request is closed/));
  await assert.rejects(request.infer([1]), code('INVALID_STATE', /closed/));
  shard.close();
  engine.close();
  assert.throws(() => engine.stats(), code('INVALID_STATE', /Engine is closed/));
  assert.throws(() => loadLibrary(`${scratch}/another.so`), code('INVALID_STATE', /loaded already/));
});

test('what is forgotten is freed', () => {
  const script = `
    import { Engine } from ${JSON.stringify(new URL('../lib/index.js', import.meta.url))};
    const engine = new Engine({ memoryLimit: 1 << 21 });
    const shard = await engine.ensureShard(process.argv[1]);
    const fill = () => { let made = 0; try { for (;; made += 1) shard.createRequest({ capacity: 200 }); } catch { return made; } };
    const first = fill();
    let again = 0;
    for (let tries = 0; tries < 50 && again < first; tries += 1) { gc(); await new Promise((next) => setTimeout(next, 10)); again = Math.max(again, fill()); }
    console.log(first > 2 && again === first);`;
  const parameters = ['--expose-gc', '--input-type=module', '-e', script, TINY];
  const ran = spawnSync(process.execPath, parameters, { encoding: 'utf8' });
  assert.deepEqual([ran.stdout, ran.status], ['true\n', 0], ran.stderr);
});

test('what is generated is up to date', () => {
  const tool = fileURLToPath(new URL('../tools/generate.js', import.meta.url));
  const ran = spawnSync(process.execPath, [tool, '--check'], { encoding: 'utf8' });
  assert.equal(ran.status, 0, ran.stderr);
  assert.equal(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version, version());
});
