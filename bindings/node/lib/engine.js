// Engines load shards, and shards make requests.

import koffi from 'koffi';
import { Output, StatusCode } from './generated/constants.js';
import { structs } from './generated/layout.js';
import { Handle, cancellable, started } from './handle.js';
import { OrtshardError, call, info, made, plain } from './library.js';
import { blank, copy, decode, decodeAll, encode, number, text } from './memory.js';
import { Request } from './request.js';
import { Tokenizer } from './tokenizer.js';

const Progress = koffi.pointer(koffi.proto('ortshard_node_progress', 'int32_t', ['void *', 'void *']));
const FileTold = koffi.pointer(koffi.proto('ortshard_node_file', 'int32_t', ['void *', 'void *']));

/** Loads ONNX Runtime with options, before the first call that needs it. */
export function loadRuntime(options = {}) {
  const kept = [];
  call('ortshard_runtime_load', encode('ortshard_runtime_options', options, kept));
}

/** What ONNX Runtime is loaded. */
export const runtimeInfo = () => info('ortshard_runtime_info', 'ortshard_runtime_get_info');

/** What shards can run on here. */
export function devices() {
  const count = new Uint32Array(1);
  call('ortshard_device_count', count);
  return Array.from({ length: count[0] }, (_, index) => info('ortshard_device_info', 'ortshard_device_get_info', index));
}

/** The shape of the model in a folder. */
export const modelInfo = (folder) => info('ortshard_model_info', 'ortshard_model_get_info', text(folder, 'folder'));

/** The version of the library that is running. */
export const version = () => plain('ortshard_version');

const specOf = (spec, kept) => encode('ortshard_shard_spec', typeof spec === 'string' ? { model: spec } : spec, kept);

/** Holds at most one shard of a model and replaces it safely. */
export class Engine extends Handle {
  constructor(options = {}) {
    const kept = [];
    super(made('ortshard_engine_create', encode('ortshard_engine_options', options, kept)), 'ortshard_engine_free');
  }

  /** Makes the shard that `spec` names the engine's, and gives it. A text is the spec of a whole model. */
  async ensureShard(spec, { signal, onProgress } = {}) {
    const kept = [];
    const place = specOf(spec, kept);
    return this.#loading('ortshard_engine_ensure_shard', [place], kept, signal, onProgress).then((handle) => new Shard(handle));
  }

  /** Puts other weights of the same model into the place of the engine's shard, and gives the new shard. */
  async loadCheckpoint(path, { signal, onProgress } = {}) {
    const place = text(path, 'path');
    return this.#loading('ortshard_engine_load_checkpoint', [place], [], signal, onProgress).then((handle) => new Shard(handle));
  }

  /** Opens the tokenizer of a model. */
  async openTokenizer(spec, { signal, onProgress } = {}) {
    const kept = [];
    const place = specOf(spec, kept);
    const opened = this.#loading('ortshard_engine_open_tokenizer', [place], kept, signal, onProgress);
    return opened.then((handle) => Tokenizer.own(handle));
  }

  /** The shape of a model. */
  async modelInfo(spec, { signal, onProgress } = {}) {
    const kept = [];
    const out = blank('ortshard_model_info');
    const told = this.#told('ortshard_engine_get_model_info', [specOf(spec, kept)], [out], kept, signal, onProgress);
    return told.then(() => decode('ortshard_model_info', out));
  }

  /** How a model's publisher wants its tokens chosen. */
  async samplerOptions(spec, { signal, onProgress } = {}) {
    const kept = [];
    const out = blank('ortshard_sampler_options');
    const told = this.#told('ortshard_engine_get_sampler_options', [specOf(spec, kept)], [out], kept, signal, onProgress);
    return told.then(() => decode('ortshard_sampler_options', out));
  }

  /** The ids that end a text of a model. */
  async modelEos(spec, { signal, onProgress } = {}) {
    const kept = [];
    const place = specOf(spec, kept);
    for (let room = 64; ; ) {
      const [list, needed] = [new BigInt64Array(room), new BigUint64Array(1)];
      try {
        await this.#told('ortshard_engine_model_eos', [place], [list, room, needed], [...kept], signal, onProgress);
        return Array.from(list.subarray(0, Number(needed[0])), Number);
      } catch (error) {
        if (error.status !== StatusCode.BUFFER_TOO_SMALL) throw error;
        room = Number(needed[0]);
      }
    }
  }

  /** The files that a shard needs, and where on this machine they are. Nothing is fetched. */
  async auditFiles(spec) {
    const [kept, files] = [[], []];
    const place = specOf(spec, kept);
    const callback = koffi.register((file) => {
      files.push(decode('ortshard_file', copy(file, structs.ortshard_file.size)));
      return 0;
    }, FileTold);
    try {
      await Handle.inTurn([this], (engine) => started(engine, kept, 'ortshard_engine_audit_files', engine, place, callback, null));
      return files;
    } finally {
      koffi.unregister(callback);
    }
  }

  /** What passes behind a layer of a model, and whether it can be cut there. */
  async boundary(spec, layer, { signal, onProgress } = {}) {
    const kept = [];
    const out = blank('ortshard_boundary');
    const told = this.#told('ortshard_engine_get_boundary', [specOf(spec, kept), number(layer, 'uint32_t', 'layer')], [out], kept, signal, onProgress);
    return told.then(() => decode('ortshard_boundary', out));
  }

  /** The engine's shard; null if it has none. */
  currentShard() {
    const handle = made('ortshard_engine_current_shard', this.handle);
    return handle === 0n ? null : new Shard(handle);
  }

  /** What a shard and requests on it would take. */
  async estimate(spec, { context, requests = 1 } = {}) {
    const kept = [];
    const [place, out] = [specOf(spec, kept), blank('ortshard_engine_estimate')];
    const numbers = [number(context, 'uint32_t', 'context'), number(requests, 'uint32_t', 'requests')];
    return Handle.inTurn([this], async (engine) => {
      await started(engine, kept, 'ortshard_engine_get_estimate', engine, place, ...numbers, out);
      return decode('ortshard_engine_estimate', out);
    });
  }

  /** Cuts a model among devices: which one holds which layers. */
  async plan(spec, options) {
    const kept = [];
    const [place, given] = [specOf(spec, kept), encode('ortshard_plan_options', options, kept)];
    const count = options.devices?.length ?? 0;
    const { size } = structs.ortshard_plan_stage;
    const [stages, needed] = [Buffer.alloc(size * Math.max(count, 1)), new BigUint64Array(1)];
    return Handle.inTurn([this], async (engine) => {
      await started(engine, kept, 'ortshard_engine_plan', engine, place, given, stages, count, needed);
      return decodeAll('ortshard_plan_stage', stages.subarray(0, size * Number(needed[0])));
    });
  }

  /** What the engine has counted. */
  stats() {
    return info('ortshard_engine_stats', 'ortshard_engine_get_stats', this.handle);
  }

  /** Gives back the memory of the engine's shard and of the requests on it. */
  clear() {
    return Handle.inTurn([this], (engine) => started(engine, [], 'ortshard_engine_clear', engine));
  }

  /** Deletes every quantised shard from the engine's cache of them, and gives the bytes that were freed. */
  async clearPackCache() {
    const freed = new BigUint64Array(1);
    return Handle.inTurn([this], async (engine) => {
      await started(engine, [], 'ortshard_engine_clear_pack_cache', engine, freed);
      return Number(freed[0]);
    });
  }

  /** Saves the weights of the engine's shard as a safetensors file. */
  async saveCheckpoint(path) {
    const place = text(path, 'path');
    return Handle.inTurn([this], (engine) => started(engine, [], 'ortshard_engine_save_checkpoint', engine, place));
  }

  async #loading(name, parameters, kept, signal, onProgress) {
    const handle = new BigUint64Array(1);
    await this.#told(name, parameters, [handle], kept, signal, onProgress);
    return handle[0];
  }

  /** A call with a progress callback, which the library calls on its thread, and koffi then here. */
  #told(name, parameters, outs, kept, signal, onProgress) {
    return Handle.inTurn([this], async (engine) => {
      let thrown;
      const progress = (place) => {
        try {
          onProgress?.(decode('ortshard_progress', copy(place, structs.ortshard_progress.size)));
        } catch (error) {
          thrown ??= { error };
        }
        return thrown || signal?.aborted ? 1 : 0;
      };
      // Nobody is called back if there is nobody to tell: the call does not wait for this thread then.
      const callback = signal || onProgress ? koffi.register(progress, Progress) : null;
      try {
        // The progress sees the signal; there is nothing else to cancel.
        const work = () => started(engine, kept, name, engine, ...parameters, callback, null, ...outs);
        await cancellable(signal, () => {}, () => {}, work);
      } catch (error) {
        throw thrown && error.status === StatusCode.CANCELLED ? thrown.error : error;
      } finally {
        if (callback) koffi.unregister(callback);
      }
    });
  }
}

/** A loaded range of layers. */
export class Shard extends Handle {
  constructor(handle) {
    super(handle, 'ortshard_shard_free');
  }

  /** What the shard is and takes. */
  info() {
    return info('ortshard_shard_info', 'ortshard_shard_get_info', this.handle);
  }

  /** A request at position 0. */
  createRequest(options = {}) {
    if (options.output === Output.PIECES) {
      throw new OrtshardError(StatusCode.UNSUPPORTED, 'output: frames come whole here (Output.FRAME)');
    }
    const kept = [];
    return Request.own(made('ortshard_request_create', this.handle, encode('ortshard_request_options', options, kept)));
  }

  /** Saves the shard as an ONNX model. */
  async exportOnnx(path) {
    const place = text(path, 'path');
    return Handle.inTurn([this], (shard) => started(shard, [], 'ortshard_shard_export_onnx', shard, place));
  }
}
