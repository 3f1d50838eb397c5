// What the package offers.

export { OrtshardError, loadLibrary } from './library.js';
export { Engine, Shard, devices, loadRuntime, modelInfo, runtimeInfo, version } from './engine.js';
export { Request, Sampler, batchInfer, batchSample, chainInfer, chainSample, frameInfo, frameSize } from './request.js';
export { ChatParser, TextStream, Tokenizer } from './tokenizer.js';
export { Generation, Model } from './generation.js';
export * from './generated/constants.js';
