// Compiled, not run: the types say what the package does.

import {
  Constraint, Dtype, Engine, Generation, Grammar, Logits, Model, OrtshardError, Sampler, StatusCode, batchSample, chainInfer, devices, type Step, type Tensor,
} from '../lib/index.js';

export async function everything(signal: AbortSignal): Promise<string> {
  using engine = new Engine({ memoryLimit: 1 << 30, offline: true });
  const shard = await engine.ensureShard({ model: 'm', lastLayer: 3 }, { signal, onProgress: ({ stage }) => stage });
  const request = shard.createRequest({ capacity: 8, longContext: false });
  const tensor: Tensor = await request.infer([1, 2n], { logits: Logits.ALL, signal });
  await chainInfer([request], { dtype: Dtype.F32, shape: [1, 4], data: new Float32Array(4) });
  const sampler = new Sampler({ topK: 3, seed: 1n, biases: [{ ids: [1], bias: -Infinity }] });
  for (const answer of await batchSample([request], [[1]], [sampler])) {
    if (answer instanceof OrtshardError && answer.status === StatusCode.OUT_OF_MEMORY) return `${answer.oom?.requestedBytes}`;
  }
  const model = await Model.load('m', { precision: 2, signal });
  for await (const piece of model.generate('Hi', { maxNewTokens: 3, sampling: { temperature: 0 }, stop: ['.'], signal })) piece.trim();
  const answer = model.chat([{ role: 'user', content: 'Hi' }], { chat: { tools: [{ name: 'f' }], variables: { enable_thinking: false } } });
  for await (const event of answer) if (event.kind === 'tool_call') event.arguments.trim();
  const generation = new Generation(request, { tokenizer: model.tokenizer, keepLogits: true });
  const step: Step = await generation.step({ signal });
  const constraint: Constraint = await Constraint.compile(model.tokenizer!, '[a-z]+', { kind: Grammar.REGEX, eos: [1n] });
  for await (const piece of model.generate('Hi', { constraint: constraint.clone() })) piece.trim();
  for await (const piece of model.generate('Hi', { grammar: { type: 'string' } })) piece.trim();
  const fork: Generation = await generation.fork();
  await fork.importState(await generation.exportState());
  const remote: Generation = Generation.remote({ vocabSize: 128, capacity: 8 }, { maxNewTokens: 3 });
  if ((await remote.pending()).length) (await remote.stepWith(new Float32Array(128))).text.trim();
  // @ts-expect-error: an option that there is not
  model.createGeneration({ maxTokens: 3 });
  // @ts-expect-error: no request is made of nothing
  new (request.constructor as typeof import('../lib/index.js').Request)();
  return `${tensor.shape} ${step.best[0]?.logprob} ${devices()[0]?.name} ${answer.message?.role}`;
}
