// What the package offers.

export { OrtshardError, loadLibrary } from './library.js';
export { Engine, Shard, devices, loadRuntime, modelInfo, runtimeInfo, version } from './engine.js';
export { Request, batchInfer, batchSample, chainInfer, chainSample, frameInfo, frameParts, frameSize } from './request.js';
export { Constraint } from './constraint.js';
export { Sampler } from './sampler.js';
export { ChatParser } from './parser.js';
export { TextStream, Tokenizer } from './tokenizer.js';
export { Generation } from './generation.js';
export { Model } from './model.js';
export * from './generated/constants.js';
