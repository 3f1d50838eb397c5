import type {
  Boundary, ChatOptions, ChatParserOptions, DeviceInfo, EncodeOptions, EngineEstimate, EngineOptions, EngineStats, File, FrameInfo,
  GenerationOptions, Ids, ModelInfo, Oom, PlanOptions, PlanStage, Progress, RequestOptions, RuntimeInfo, RuntimeOptions,
  SamplerOptions, ShardInfo, ShardSpec, Step,
} from './generated/index.js';

export * from './generated/index.js';

/** An error of the library. Messages are for people; `status` and `code` do not change. */
export class OrtshardError extends Error {
  /** One of StatusCode, or a later one of its hundred. */
  readonly status: number;
  /** Its name, such as "OUT_OF_MEMORY". */
  readonly code: string;
  /** Where memory ran out, if it did. */
  readonly oom?: Oom;
}

/**
 * Loads the library from the file `path`; without it from the one that the environment's ORTSHARD_LIBRARY names, else from
 * where the system's loader finds it. The first call that needs the library does it, too.
 */
export function loadLibrary(path?: string): void;
/** The version of the library that is running. */
export function version(): string;
/** Loads ONNX Runtime with options, before the first call that needs it. */
export function loadRuntime(options?: RuntimeOptions): void;
/** What ONNX Runtime is loaded. */
export function runtimeInfo(): RuntimeInfo;
/** What shards can run on here. */
export function devices(): DeviceInfo[];
/** The shape of the model in a folder. */
export function modelInfo(folder: string): ModelInfo;
/** How many bytes the frame has that begins with `start`, of which FRAME_START bytes are enough. */
export function frameSize(start: Uint8Array): number;
/** What a frame says of itself. */
export function frameInfo(frame: Uint8Array): FrameInfo;
/** What a frame carries, part by part: `role` is one of Role. */
export function frameParts(frame: Uint8Array): (Tensor & { role: number })[];

/** An object of the library. What is forgotten is freed some time; what is closed is freed when its calls have ended. */
export abstract class Handle {
  /** Whether close() was called. */
  readonly closed: boolean;
  /** Gives the object's memory back, at the end of the calls that were made before. May be called again. */
  close(): void;
  [Symbol.dispose](): void;
}

export interface Cancellable {
  /** Cancels the call, which is then rejected with the signal's reason. */
  signal?: AbortSignal;
}

export interface Loading extends Cancellable {
  /** Is told about each step of loading. What it throws cancels the call, and is thrown by it. */
  onProgress?: (progress: Progress) => void;
}

/** Values, row after row: f16 and bf16 as their bits, a frame as its bytes. */
export interface Tensor {
  /** One of Dtype. */
  dtype: number;
  shape: number[];
  data: Float32Array | Uint16Array | Int32Array | BigInt64Array | Uint8Array;
}

/** Token ids for a first shard, a tensor or a frame for others. Inputs are copied when the call is made. */
export type Input = Ids | Tensor | Uint8Array;

/** Holds at most one shard of a model and replaces it safely. */
export class Engine extends Handle {
  constructor(options?: EngineOptions);
  /** Makes the shard that `spec` names the engine's, and gives it. A text is the spec of a whole model. */
  ensureShard(spec: string | ShardSpec, options?: Loading): Promise<Shard>;
  /** Puts other weights of the same model into the place of the engine's shard, and gives the new shard. */
  loadCheckpoint(path: string, options?: Loading): Promise<Shard>;
  /** Saves the weights of the engine's shard as a safetensors file. */
  saveCheckpoint(path: string): Promise<void>;
  /** Opens the tokenizer of a model. */
  openTokenizer(spec: string | ShardSpec, options?: Loading): Promise<Tokenizer>;
  /** The shape of a model. */
  modelInfo(spec: string | ShardSpec, options?: Loading): Promise<ModelInfo>;
  /** How a model's publisher wants its tokens chosen. */
  samplerOptions(spec: string | ShardSpec, options?: Loading): Promise<SamplerOptions>;
  /** The ids that end a text of a model. */
  modelEos(spec: string | ShardSpec, options?: Loading): Promise<number[]>;
  /** The files that a shard needs, and where on this machine they are. Nothing is fetched. */
  auditFiles(spec: string | ShardSpec): Promise<File[]>;
  /** What passes behind a layer of a model, and whether it can be cut there. */
  boundary(spec: string | ShardSpec, layer: number, options?: Loading): Promise<Boundary>;
  /** What a shard and requests on it would take. */
  estimate(spec: string | ShardSpec, options: { context: number; requests?: number }): Promise<EngineEstimate>;
  /** Cuts a model among devices: which one holds which layers, from the first stage to the last. */
  plan(spec: string | ShardSpec, options: PlanOptions): Promise<PlanStage[]>;
  /** The engine's shard; null if it has none. */
  currentShard(): Shard | null;
  /** What the engine has counted. */
  stats(): EngineStats;
  /** Deletes every quantised shard from the engine's cache of them, and gives the bytes that were freed. */
  clearPackCache(): Promise<number>;
  /** Gives back the memory of the engine's shard and of the requests on it. */
  clear(): Promise<void>;
}

/** A loaded range of layers. */
export class Shard extends Handle {
  private constructor();
  /** What the shard is and takes. */
  info(): ShardInfo;
  /** A request at position 0. */
  createRequest(options?: RequestOptions): Request;
  /** Saves the shard as an ONNX model. */
  exportOnnx(path: string): Promise<void>;
}

/** A sequence of tokens on a shard: a KV cache and a position in it. Its calls take turns. */
export class Request extends Handle {
  private constructor();
  /** Tokens that were run. */
  readonly position: number;
  /** Tokens there is room for. */
  readonly capacity: number;
  /** Runs an input, and gives logits, hidden states or a frame. */
  infer(input: Input, options?: { logits?: number } & Cancellable): Promise<Tensor>;
  /** Runs tokens through a shard of all layers, and gives the one that follows. Without a sampler: the likeliest. */
  sample(input: Input, sampler?: Sampler | null, options?: Cancellable): Promise<number>;
  /** Runs tokens through a shard of all layers, and gives the last one's logits. */
  logits(ids: Ids, options?: Cancellable): Promise<Float32Array>;
  /** Forgets every token from `position` on. */
  truncate(position: number): Promise<void>;
  /** Another request with the same tokens behind it. */
  fork(): Promise<Request>;
  /** The request's state, to be kept or sent. */
  exportState(): Promise<Uint8Array>;
  /** What its state has gained since it was at position `since`. */
  exportStateSince(since: number): Promise<Uint8Array>;
  /** Puts the request where the one was that exported the state. */
  importState(state: Uint8Array): Promise<void>;
  /** Cancels the run in progress or, if none is, the next one. */
  cancel(): void;
  /** Takes back a cancellation that met no run. */
  clearCancel(): void;
}

/** Runs an input through the shards of requests in turn, as one model, and gives what the last one gives. */
export function chainInfer(requests: Request[], input: Input, options?: { logits?: number } & Cancellable): Promise<Tensor>;
/** Runs an input through the shards of requests in turn, as one model, and gives the token that follows. */
export function chainSample(requests: Request[], input: Input, sampler?: Sampler | null, options?: Cancellable): Promise<number>;
/** Runs an input through one shard for each of many requests at once. Each gives an output or an error. */
export function batchInfer(
  requests: Request[], inputs: Input[], options?: { logits?: number[] },
): Promise<(Tensor | OrtshardError)[]>;
/** The same with a sampler for each request, or none: each gives the token that follows, or an error. */
export function batchSample(requests: Request[], inputs: Input[], samplers?: Sampler[]): Promise<(number | OrtshardError)[]>;

/** Chooses tokens from logits. */
export class Sampler extends Handle {
  constructor(options?: SamplerOptions);
  /** Adds tokens to the text so far that the sampler has not chosen: a prompt. */
  accept(ids: Ids): void;
  /** Chooses the next token from logits. */
  sample(logits: Float32Array): number;
  /** Puts the sampler back to its start. */
  reset(): void;
}

/** A message of a chat. Whatever else it has is the chat template's. */
export interface Message {
  role: string;
  content?: unknown;
  [key: string]: unknown;
}

/** `tools`, `documents` and `variables` are objects here, or JSON. */
export type Chat = Omit<ChatOptions, 'tools' | 'documents' | 'variables'> & {
  tools?: string | object[];
  documents?: string | object[];
  variables?: string | object;
};

/** Text to token ids and back. */
export class Tokenizer extends Handle {
  private constructor();
  /** Opens the tokenizer of a model folder, or a tokenizer.json. */
  static open(path: string): Tokenizer;
  encode(text: string, options?: EncodeOptions): number[];
  /** The token ids of each of many texts, which are shared out among threads. */
  encodeTexts(texts: string[], options?: EncodeOptions): number[][];
  /** The token ids of a text, and for each the part of the text that it stands for: `text.slice(start, end)`. */
  encodeWithRanges(text: string, options?: EncodeOptions): { id: number; start: number; end: number }[];
  /** How many token ids a text has. */
  count(text: string, options?: EncodeOptions): number;
  decode(ids: Ids, options?: { skipSpecial?: boolean }): string;
  /** Tokens, added ones included. */
  readonly vocabSize: number;
  /** The id that begins a sequence, or null. */
  readonly bos: number | null;
  /** The id that fills up rows, or null. */
  readonly pad: number | null;
  /** The ids that end one. */
  readonly eos: number[];
  /** The id of a token by its spelling in the vocabulary, or null. */
  tokenToId(token: string): number | null;
  /** The spelling of a token in the vocabulary. */
  idToToken(id: number): string;
  /** The bytes that a token adds to a text, which need not be whole characters. */
  tokenBytes(id: number | bigint): Uint8Array;
  /** Whether a text ends with a token. */
  isEos(id: number | bigint): boolean;
  /** Whether a token is a special one. */
  isSpecial(id: number | bigint): boolean;
  /** The prompt that the model's chat template makes of messages. */
  chatText(messages: Message[] | string, options?: Chat): string;
  /** The token ids of that prompt. */
  chatIds(messages: Message[] | string, options?: Chat): number[];
}

/** Decodes token by token and gives text in whole characters. */
export class TextStream extends Handle {
  constructor(tokenizer: Tokenizer, options?: { skipSpecial?: boolean });
  /** The text that a token makes certain. */
  push(id: number): string;
  /** The text that was held back. */
  finish(): string;
}

/** A part of an answer. */
export type ChatEvent =
  | { kind: 'content' | 'reasoning'; text: string }
  | { kind: 'tool_call'; name: string; id: string | null; arguments: string };

/** Parses a model's answer while it is written. */
export class ChatParser extends Handle {
  constructor(tokenizer: Tokenizer, options?: Omit<ChatParserOptions, 'tools'> & { tools?: string | object[] });
  /** Takes more of the answer, and gives what it makes certain. */
  push(piece: string): ChatEvent[];
  /** The answer has ended: gives what was held back. */
  finish(): ChatEvent[];
  /** The whole message so far. */
  message(): Message;
}

/**
 * A grammar, and how far a text has come in it: which tokens may come next. A generation takes one in its options, or the grammar
 * itself; a loop of one's own asks it: mask(), sample(), advance().
 */
export class Constraint extends Handle {
  private constructor();
  /** Compiles a grammar at the start of a text. `kind` is one of Grammar; an object is a JSON schema. `eos`: what ends the text. */
  static compile(tokenizer: Tokenizer, grammar: string | object, options?: { kind?: number; eos?: Ids }): Promise<Constraint>;
  /** Another that goes on from here on its own, without compiling. */
  clone(): Constraint;
  /** Sets the logits of the tokens that may not come next to -Infinity, in the array itself. */
  mask(logits: Float32Array): void;
  /** Takes the next token. */
  advance(id: number | bigint): void;
  /** The tokens that must come next, whatever the logits; often there are none. */
  knownIds(): number[];
}

/** How a generation on requests of one's own goes on. `grammar` may be a JSON schema as an object, which needs no `grammarKind`. */
export type Writing = Omit<GenerationOptions, 'engine' | 'request' | 'publishedSampling' | 'grammar'> & { grammar?: string | object };

/** A text in progress on requests that are a whole model together. */
export class Generation extends Handle {
  constructor(requests: Request | Request[], options?: Writing & { tokenizer?: Tokenizer | null });
  /** Adds text to the prompt: before the first step, or after the text has ended. */
  appendText(text: string, options?: { addSpecial?: boolean }): Promise<void>;
  /** Adds tokens to the prompt. */
  appendIds(ids: Ids): Promise<void>;
  /** Runs the next `most` tokens of the prompt, and gives the number of those left. */
  prefill(most: number): Promise<number>;
  /** The next token and the text that it makes certain. */
  step(options?: Cancellable): Promise<Step>;
  /** Steps until the text ends. */
  steps(options?: Cancellable): AsyncGenerator<Step, void>;
  [Symbol.asyncIterator](): AsyncGenerator<Step, void>;
  /** Steps many generations at once. Each gives a step or an error. */
  static stepBatch(generations: Generation[]): Promise<(Step | OrtshardError)[]>;
  /**
   * One whose tokens the program runs by itself, in any way that gives the logits of the model. Before each step it asks for the
   * pending tokens, runs them, and gives their logits; where nothing is pending, none.
   */
  static remote(
    model: { vocabSize: number; capacity: number; shortContext?: number }, options?: Writing & { tokenizer?: Tokenizer | null },
  ): Generation;
  /** Of one that is remote: the tokens that are to be run before the next step. */
  pending(): Promise<number[]>;
  /** How many of the largest logits decide a token. */
  candidates(): Promise<number>;
  /** Of one that is remote: the next step, with all logits of the run, or with the largest ones in falling order and their tokens. */
  stepWith(logits?: Float32Array, tokens?: Ids | null): Promise<Step>;
  /** Another that goes on from here on its own, on forks of the requests. What the last step gave is not in it. */
  fork(): Promise<Generation>;
  /** All that it needs to go on, to be kept or sent. */
  exportState(): Promise<Uint8Array>;
  /** Puts it where the one was that exported the state, and that was made with the same options. */
  importState(state: Uint8Array): Promise<void>;
  /** The logits that the last token was chosen from, with the option keepLogits. */
  logits(): Promise<Float32Array>;
  /** Ends the text with the step in progress, or the next one. */
  cancel(): void;
}

/** How a model writes: the options of its generation, and under `request` those of its request. */
export type Wanted = Writing & { request?: RequestOptions } & Cancellable;

/** A whole model with its tokenizer. */
export class Model {
  constructor(engine: Engine, shard: Shard, tokenizer: Tokenizer | null);
  readonly engine: Engine;
  readonly shard: Shard;
  readonly tokenizer: Tokenizer | null;
  /** Loads the model in a folder, or of a name on the hub. */
  static load(model: string, options?: EngineOptions & Loading & { revision?: string }): Promise<Model>;
  /** A generation on a request of its own. */
  createGeneration(options?: Writing & { request?: RequestOptions }): Generation;
  /** Writes on behind a prompt, which is a text or token ids: gives the text piece by piece. */
  generate(prompt: string | Ids, options?: Wanted & { addSpecial?: boolean }): AsyncGenerator<string, void>;
  /** Writes on behind a prompt: gives each token with what is known of it. */
  generateSteps(prompt: string | Ids, options?: Wanted & { addSpecial?: boolean }): AsyncGenerator<Step, void>;
  /** Answers messages: gives the answer's parts as they become certain. `chat` has the options of the chat template. */
  chat(messages: Message[], options?: Wanted & { chat?: Chat }): Answer;
  /** Gives the memory of shard, tokenizer and engine back. */
  close(): void;
  [Symbol.dispose](): void;
}

/** An answer that is being written. */
export interface Answer extends AsyncIterable<ChatEvent> {
  /** The whole message, when it is written; null before. */
  readonly message: Message | null;
  /** Why it has ended, one of Finish. */
  readonly finish: number;
}
