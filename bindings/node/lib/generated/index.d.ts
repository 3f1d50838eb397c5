// Made by tools/generate.js from ortshard.json and ortshard.h: not to be edited.

/** Token ids. */
export type Ids = Iterable<number | bigint>;

export const ABI_VERSION: number;
export const LAST_LAYER: number;
export const NO_ID: number;
export const FRAME_START: number;
export const NO_LAYER: number;

export const StatusCode: Readonly<{
  OK: 0;
  NULL_ARGUMENT: 101;
  INVALID_ARGUMENT: 102;
  INVALID_UTF8: 103;
  OUT_OF_RANGE: 104;
  BUFFER_TOO_SMALL: 105;
  VERSION_MISMATCH: 106;
  NOT_FOUND: 201;
  IO: 202;
  MALFORMED: 203;
  UNSUPPORTED: 204;
  OFFLINE: 205;
  HASH_MISMATCH: 206;
  INVALID_STATE: 301;
  STALE_SHARD: 302;
  CONTEXT_FULL: 303;
  CANCELLED: 304;
  ONNXRUNTIME_NOT_FOUND: 401;
  ONNXRUNTIME: 402;
  OUT_OF_MEMORY: 403;
  DEVICE_UNAVAILABLE: 404;
  INTERNAL: 901;
  PANIC: 902;
}>;

export const OomSite: Readonly<{
  LOAD: 1;
  KV: 2;
  RUN: 3;
}>;

export const Dtype: Readonly<{
  AUTO: 0;
  I32: 1;
  I64: 2;
  F32: 3;
  F16: 4;
  BF16: 5;
  INT8: 16;
  INT4: 17;
  MXFP4: 18;
  FP8: 19;
  FRAME: 32;
}>;

export const DeviceKind: Readonly<{
  AUTO: 0;
  CPU: 1;
  CUDA: 2;
  COREML: 3;
}>;

export const Precision: Readonly<{
  AUTO: 0;
  EXACT: 1;
  INT8: 2;
  INT4: 3;
  INT4_FINE: 4;
}>;

export const Stage: Readonly<{
  INSPECT: 1;
  FETCH: 2;
  WEIGHTS: 3;
  PACK: 4;
  SESSION: 5;
  READY: 6;
}>;

export const Logits: Readonly<{
  LAST: 0;
  ALL: 1;
  NONE: 2;
}>;

export const Output: Readonly<{
  TENSOR: 0;
  FRAME: 1;
  PIECES: 2;
}>;

export const ChatEventKind: Readonly<{
  NOTHING: 0;
  CONTENT: 1;
  REASONING: 2;
  TOOL_CALL: 3;
}>;

export const Grammar: Readonly<{
  NONE: 0;
  JSON_SCHEMA: 1;
  REGEX: 2;
  LARK: 3;
}>;

export const Finish: Readonly<{
  NONE: 0;
  EOS: 1;
  STOP: 2;
  LENGTH: 3;
  CONTEXT_FULL: 4;
  CANCELLED: 5;
}>;

export const Role: Readonly<{
  HIDDEN_STATES: 1;
  PER_LAYER_INPUTS: 2;
  STREAMS: 3;
}>;

export const FileState: Readonly<{
  PRESENT: 1;
  MISSING: 2;
}>;

export const LogLevel: Readonly<{
  ERROR: 1;
  WARNING: 2;
  INFO: 3;
  DEBUG: 4;
  TRACE: 5;
}>;

export interface Oom {
  /** Which allocation failed: an ORTSHARD_OOM_* constant, of which lists of errors name the last part as the site. */
  site: number;
  /** The device whose memory ran out, such as "cpu". */
  device: string;
  /** Bytes that were asked for; 0 where the failing allocator does not say. */
  requestedBytes: number;
}

export interface EngineOptions {
  /** Where shards run: an ORTSHARD_DEVICE_* constant. */
  device?: number;
  /** Which device of that kind, from 0. */
  deviceIndex?: number;
  /**
   * Not 0: a device that is not there, or that cannot run a shard, is an error. 0: the processor takes its place,
   * and the log and the shard's description say so.
   */
  requireDevice?: boolean;
  /** How weights are kept: an ORTSHARD_PRECISION_* constant. */
  precision?: number;
  /**
   * Bytes that the engine's weights, KV caches, outputs and runs may take together. 0: no limit.
   *
   * What does not fit is OUT_OF_MEMORY before it is used. Under a limit the runs of a shard go one at a time, in
   * pieces of as many tokens as fit.
   */
  memoryLimit?: number;
  /**
   * Not 0: another shard is loaded in place of the present one instead of beside it, for when both do not fit.
   *
   * The present one's memory is given back first. If the new one fails, it is loaded again and its requests go on
   * as if nothing had been; if the new one succeeds, they are stale.
   */
  releaseFirst?: boolean;
  /**
   * Not 0: no socket is opened; what is neither a folder nor in the cache is OFFLINE. Also by the environment's
   * HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE.
   */
  offline?: boolean;
  /**
   * The hub's cache, as UTF-8. NULL: as the environment says (HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME,
   * XDG_CACHE_HOME, with `~` and variables in them replaced), else ~/.cache/huggingface/hub.
   */
  cacheDir?: string;
  /**
   * The folder where quantised shards are kept between loads, as UTF-8. NULL: the environment's ORTSHARD_CACHE, else
   * $XDG_CACHE_HOME/ortshard, else ~/.cache/ortshard. Empty: none, weights are quantised into memory at each load.
   * Its files may be deleted at any time.
   */
  packCache?: string;
  /** Bytes that the folder may take; the shards not used for longest make room. 0: 64 GiB. */
  packCacheLimit?: number;
  /**
   * Not 0: shards on the processor run in stock operators, those that ONNX Runtime brings, as they do on other
   * devices, instead of this library's native ones. A reference to compare with: slower, with a copy of the weights,
   * exact ones as float32, and with results that differ in the last bits. Needs ONNX Runtime 1.24, and KV caches in
   * float32.
   */
  stockOperators?: boolean;
  /**
   * What the KV caches of requests hold: ORTSHARD_DTYPE_AUTO (or 0), _F32, _F16 or _INT8. AUTO is what the device
   * computes in: float32 on the processor; on CUDA the checkpoint's own type, bfloat16 where that is float32.
   *
   * _F16 takes half the memory of _F32. A value beyond 65504 in magnitude, the largest there is, becomes that;
   * infinities and NaNs stay what they are. _INT8 is 8 bits, and one float32 scale for each head's key or value of
   * one token: little more than a quarter of the memory. A row with a value that is not finite becomes NaNs. Both
   * are for native operators only, and on CUDA _F32 is refused too: UNSUPPORTED.
   */
  kvType?: number;
  /**
   * Requests whose KV caches are made side by side where shards run in stock operators (on CUDA), so that
   * ortshard_batch_infer() runs their next tokens together. Their memory is taken at once, for requests of one
   * capacity. 0: 1. Native operators run any requests together.
   */
  batchSlots?: number;
  /**
   * Not 0: decode steps on CUDA are launched operator by operator instead of captured as a CUDA graph and replayed.
   * For hosts that use CUDA from other threads meanwhile: while a request's first step is captured, CUDA refuses
   * their allocations.
   */
  noGraphCapture?: boolean;
}

export interface ShardSpec {
  /** The model's folder or its name on the hub (`name` or `org/name`), as UTF-8. Read during the call only. */
  model?: string;
  /** Branch, tag or commit of a model on the hub. NULL: "main". */
  revision?: string;
  /** The first layer, from 0. */
  firstLayer?: number;
  /** The last layer, INCLUSIVE: 0 and 3 are four layers. ORTSHARD_LAST_LAYER: the model's last. */
  lastLayer?: number;
  /** Layers of the whole model, to check that the right model is there: another number is an error. 0: no check. */
  layerCount?: number;
}

export interface Progress {
  /** An ORTSHARD_STAGE_* constant; they come in order. */
  stage: number;
  /** Bytes of files brought here (FETCH) or of weights mapped (later) so far. */
  bytesDone: number;
  /** Bytes in all; 0 while that is not known. */
  bytesTotal: number;
  /** Tensors mapped so far. */
  tensorsDone: number;
  /** Tensors in all; 0 while that is not known. */
  tensorsTotal: number;
}

export interface ShardInfo {
  /** The model's architecture, such as "LlamaForCausalLM". */
  architecture: string;
  /** The first layer, from 0. */
  firstLayer: number;
  /** The last layer, INCLUSIVE. */
  lastLayer: number;
  /** Layers of the whole model. */
  layerCount: number;
  /** 1 if it takes token ids (it starts at layer 0), 0 if it takes hidden states. */
  isFirst: boolean;
  /** 1 if it gives logits (it ends at the last layer), 0 if it gives hidden states. */
  isLast: boolean;
  /** Width of hidden states. */
  hiddenSize: number;
  /** Number of token ids, and width of logits. */
  vocabSize: number;
  /** The longest sequence the model allows, in tokens. */
  maxPositions: number;
  /**
   * Element type of most weights, as stored or quantised: ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_F16,
   * ORTSHARD_DTYPE_BF16, ORTSHARD_DTYPE_INT8, ORTSHARD_DTYPE_INT4, ORTSHARD_DTYPE_MXFP4 or ORTSHARD_DTYPE_FP8.
   */
  weightDtype: number;
  /** Where it runs: an ORTSHARD_DEVICE_* constant. */
  device: number;
  /** Which device of that kind, from 0. */
  deviceIndex: number;
  /** Bytes of its weights, as stored. */
  weightBytes: number;
  /**
   * Bytes of KV cache that a token takes in a request. Layers that see a window of tokens keep that only, so that a
   * long context takes less, and layers with a state of fixed size take none of it, but several states in each
   * request, and the request's input: ortshard_engine_get_estimate() says how much.
   */
  kvBytesPerToken: number;
  /**
   * What was asked for, by the engine's options or by the environment's ORTSHARD_DEVICE: an ORTSHARD_DEVICE_*
   * constant. If that is neither ORTSHARD_DEVICE_AUTO nor `device`, the processor has taken its place.
   */
  requestedDevice: number;
  /** Which device of that kind, from 0. */
  requestedDeviceIndex: number;
  /** Nodes of its graph, as ONNX Runtime has placed them. */
  nodes: number;
  /**
   * Nodes that run on the processor: all if that is `device`, and on another device those that its provider does not
   * take.
   */
  cpuNodes: number;
  /**
   * Parts that come in at a time: 1 for ids and for hidden states alone. Where several pass the boundary in front of
   * the shard, it takes frames only.
   */
  inputParts: number;
  /** Parts that come out at a time, likewise: where there are several, requests give frames only. */
  outputParts: number;
  /**
   * Tokens that a text may have for its positions to be rotated as in short texts (LongRoPE: Phi-3.5, Phi-4-mini). In
   * a text of more all positions are rotated in another way: see ortshard_request_options's long_context. 0: the
   * model makes no difference.
   */
  shortContext: number;
}

export interface RequestOptions {
  /**
   * Tokens there is room for, prompt and answer together. The KV cache's memory is reserved at once, so a run never
   * fails for lack of it. 0: the model's maximum, at most 4096.
   */
  capacity?: number;
  /** Tokens per run of a long input. 0: 512. Any size gives the same bits; a smaller one needs less memory. */
  prefillChunk?: number;
  /**
   * Not 0: the request keeps no KV cache between calls. Each call computes everything anew in a cache that it gives
   * back at its end: the same bits, in a time that grows with all the tokens so far.
   *
   * Instead it keeps its input, until it is freed: 8 bytes a token on a shard that takes ids, 4 for each value that
   * passes the boundary on others (4 x hidden_size, mostly). Its state cannot be exported or imported.
   */
  noCache?: boolean;
  /**
   * What the hidden states that the request gives are: ORTSHARD_DTYPE_AUTO (or 0) or _F32, or _F16 or _BF16, rounded
   * to nearest: half as much to send to another machine. A shard that computes in that very type, as those on CUDA
   * do in the checkpoint's, loses nothing; others do, and then a model in shards is not the same bit for bit. As
   * float16 a value beyond 65504 in magnitude, the largest there is, becomes that; infinities and NaNs stay what
   * they are.
   *
   * Between the requests of ortshard_chain_infer() nothing is rounded, whatever this says: a chain gives the bits of
   * the whole model.
   */
  hiddenDtype?: number;
  /**
   * Not 0: positions are rotated as in a long text from the first token on. This is for models with
   * ortshard_shard_info's short_context, such as Phi-3.5 and Phi-4-mini; in others it changes nothing.
   *
   * 0: the request's first run decides, its call as a whole: with more than short_context tokens the text is a long
   * one. So a long prompt that comes in several calls needs this, in the requests on all shards. A short text that
   * becomes long must be run again: that call is OUT_OF_RANGE, and nothing changes.
   */
  longContext?: boolean;
  /**
   * What hidden states come as: an ORTSHARD_OUTPUT_* constant. In ortshard_request_infer_into() FRAME and PIECES
   * are the same: the frame is written into the buffer.
   */
  output?: number;
  /** What the per-layer inputs in frames are, where a boundary has them, as hidden_dtype says it of hidden states. */
  perLayerDtype?: number;
  /** Not 0: a number beyond the largest of F16 or BF16 is not rounded to that, but makes the run OUT_OF_RANGE. */
  refuseBeyond?: boolean;
  /**
   * Tokens between two states that are put aside to go back to. This is for models whose layers keep a state of fixed
   * size that no request can go back with, such as the convolutions of LFM2 and the linear attention of Qwen3.5: see
   * ortshard_request_truncate(). 0: 256. When snapshot_bytes are full, every second one makes room, and the distance
   * doubles.
   */
  snapshotInterval?: number;
  /**
   * Bytes that these may take, reserved at once. 0: as many as eight of them take; fewer than one takes: none are put
   * aside at intervals. Three states more are always there: a request can go back into its last call, whatever this
   * says.
   */
  snapshotBytes?: number;
}

export interface Bias {
  /** The sequence. One token of its own is one that always gets the bias. */
  ids: Ids;
  /** Finite, or -INFINITY for a sequence that must not come. */
  bias: number;
}

export interface SamplerOptions {
  /** Divides the logits: 0 is greedy, below 1 sharper, above 1 flatter. Finite, not negative. */
  temperature?: number;
  /** How many of the largest logits can be chosen; 0: all. */
  topK?: number;
  /** Seed of the random stream. */
  seed?: number | bigint;
  /** The most probable tokens that together reach this probability can be chosen. 0 to 1; 0 or 1: all. */
  topP?: number;
  /** Tokens at least this many times as probable as the most probable one can be chosen. 0 to 1; 0: all. */
  minP?: number;
  /**
   * Locally typical sampling: the tokens of the least surprising surprise that together reach this probability can
   * be chosen. 0 to 1; 0 or 1: all.
   */
  typicalP?: number;
  /**
   * Tokens whose logits lie at most this many standard deviations of all logits below the largest can be chosen.
   * Finite, not negative; 0: all.
   */
  topNSigma?: number;
  /**
   * Divides the logit of each token of the text so far if it is positive, and multiplies it if not. Finite, not
   * negative; 0 or 1: changes nothing.
   */
  repetitionPenalty?: number;
  /** Is subtracted from the logit of each token that the sampler has chosen so far. -2 to 2. */
  presencePenalty?: number;
  /** Is subtracted from a token's logit once for each time that the sampler has chosen it so far. -2 to 2. */
  frequencyPenalty?: number;
  /** How many tokens at the end of the text so far the three penalties look at; 0: all. */
  penaltyWindow?: number;
  /** No sequence of so many tokens comes twice in the text; 0: any may. */
  noRepeatNgram?: number;
  /** How many tokens are chosen before one of `eos` may be. */
  minNewTokens?: number;
  /** Added to logits; NULL if there are none. No sequence may come twice. */
  biases?: Bias[];
  /** Tokens that are never chosen; NULL if there are none. */
  banned?: Ids;
  /** The tokens that are chosen first, whatever the logits; NULL if there are none. */
  forced?: Ids;
  /** The tokens that end a text; NULL if there are none. Only min_new_tokens, and a generation, look at them. */
  eos?: Ids;
}

export interface EncodeOptions {
  /** Not 0: with the tokens that tokenizer.json puts around a text, such as a BOS. */
  addSpecial?: boolean;
  /**
   * Not 0: special tokens that the text spells out are text like any other. Added tokens that are not special, such
   * as runs of spaces in some vocabularies, are still found.
   */
  specialAsText?: boolean;
}

export interface ChatMessage {
  /** Who speaks, such as "system", "user" or "assistant". */
  role: string;
  /** The text. */
  content: string;
}

export interface ChatOptions {
  /** The tools that the model may call: a JSON list of objects, each with its JSON schema. */
  tools?: string;
  /** Documents to answer from: a JSON list of objects, usually with "title" and "text". */
  documents?: string;
  /**
   * Further variables of the template, such as {"enable_thinking": false}: a JSON object. They win over the names
   * of special tokens, such as bos_token.
   */
  variables?: string;
  /** Which of the model's templates. NULL: "tool_use" if there are tools and the model has it, else "default". */
  templateName?: string;
  /** A template of your own, in the place of the model's: the text of a chat_template.jinja. */
  ownTemplate?: string;
  /**
   * The field of the last message that the model goes on with, such as "content" or "reasoning_content": the prompt
   * ends within it. NULL: the last message is complete.
   */
  continueField?: string;
  /** Not 0: the prompt ends where the assistant's answer begins. */
  addGenerationPrompt?: boolean;
  /**
   * Not 0: control tokens that messages, tools, documents and variables spell out are text; see
   * ortshard_tokenizer_chat_ids(). For texts from people who might write them to deceive the model.
   */
  controlAsText?: boolean;
}

export interface ChatParserOptions {
  /** The format, one of the names above. NULL: the one that the chat template tells. */
  format?: string;
  /**
   * What the model was given: the text of ortshard_tokenizer_chat_text(). Templates often begin the answer, such as
   * with `<think>`.
   */
  prompt?: string;
  /**
   * The tools, as in ortshard_chat_options. Only qwen3-coder looks at them: its arguments are texts, and the
   * schemas say which of them are numbers.
   */
  tools?: string;
}

export interface ChatEvent {
  /** Content or reasoning; of a tool call its arguments, a JSON object. NULL if there is nothing. */
  text: string;
  /** The name of the tool that is called; else NULL. */
  name: string | null;
  /** The id of the call, if the model has given it one; else NULL. */
  id: string | null;
  /** An ORTSHARD_CHAT_* constant. */
  kind: number;
}

export interface GenerationOptions {
  /**
   * How tokens are chosen; NULL: the sampler's defaults. What the model's publisher wants:
   * ortshard_model_get_sampler_options(), or `published_sampling`. Without `eos` the tokens end the text that the
   * model's files declare: see ortshard_tokenizer_eos().
   */
  sampling?: SamplerOptions;
  /**
   * Strings that end the text wherever they come, also across tokens; NULL if there are none. Text that could still
   * become one is held back. Of two the one counts that is complete first, of those complete at once the longest.
   */
  stop?: string[];
  /** Not 0: the stop string is part of the text. */
  includeStop?: boolean;
  /** Not 0: special tokens are part of the text. */
  keepSpecial?: boolean;
  /** Not 0: the text goes on after a token that would end it. */
  ignoreEos?: boolean;
  /** The most tokens that are generated after a prompt; 0: as many as there is room for. */
  maxNewTokens?: number;
  /**
   * Of how many of the most probable tokens each step tells the logarithms of the probabilities, beside that of the
   * token itself; 0: none of them. On a device that is not the processor all logits are then copied to the host.
   */
  logprobs?: number;
  /** Not 0: the logits that each token is chosen from are kept for ortshard_generation_logits(), and copied likewise. */
  keepLogits?: boolean;
  /** For ortshard_generation_open(): the engine's options; NULL: the defaults. */
  engine?: EngineOptions;
  /** For ortshard_generation_open(): the request's options; NULL: the defaults. */
  request?: RequestOptions;
  /**
   * For ortshard_generation_open(). Not 0: tokens are chosen as the model's generation_config.json says, also where
   * it bans or biases tokens. `sampling` is NULL then.
   */
  publishedSampling?: boolean;
  /**
   * What the text after each prompt must match, in the language that `grammar_kind` names; NULL if there is none.
   * See ortshard_constraint_create(). The text ends with one of `eos` exactly where the grammar may end. A stop
   * string, a limit or cancelling cuts it all the same: only the finish ORTSHARD_FINISH_EOS says that it matches.
   * Where the grammar has only one way on, its tokens come without a choice and without a run of their own.
   *
   * INVALID_ARGUMENT beside `ignore_eos`, and with `forced` tokens that the grammar does not allow. Where it and
   * other controls (banned, biases, no_repeat_ngram, min_new_tokens) rule all tokens out, the step is
   * INVALID_ARGUMENT.
   */
  grammar?: string;
  /**
   * Instead of `grammar`: a constraint on the generation's tokenizer, of which the generation takes a copy, so that
   * many need not compile the grammar again. The text after each prompt begins where the constraint is now; NULL if
   * there is none.
   */
  constraint?: import('../index.js').Constraint;
  /** An ORTSHARD_GRAMMAR_* constant. */
  grammarKind?: number;
}

export interface Logprob {
  /** The token. */
  id: number;
  /** The natural logarithm of its probability. */
  logprob: number;
  /** What it is alone, as UTF-8 followed by a NUL; bytes that are no text are U+FFFD. Empty without a tokenizer. */
  text: string;
}

export interface Step {
  /** The token; ORTSHARD_NO_ID if the generation was cancelled, or had ended before. */
  id: number;
  /**
   * Text that has become certain, as UTF-8 followed by a NUL: whole characters, often none. Models can produce NUL
   * characters, so only the length tells where the text ends.
   */
  text: string;
  /** Why the text ends here, an ORTSHARD_FINISH_* constant; 0 if it goes on. */
  finish: number;
  /** Where that is ORTSHARD_FINISH_STOP: which of the options' `stop`. */
  stop: number;
  /** The natural logarithm of the token's probability as the model gives it; 0 without the option logprobs. */
  logprob: number;
  /** The most probable tokens, the most probable first; NULL without the option logprobs. */
  best: Logprob[];
}

export interface FrameInfo {
  /** The position of its first token: that of the request that can take it. */
  position: number;
  /** Its tokens, n. */
  tokens: number;
  /** The layer in front of the boundary: the next shard begins one behind it. */
  layer: number;
  /** Number of its parts. */
  partCount: number;
  /** 1 if positions are rotated as in a long text (ortshard_request_options's long_context), else 0. */
  isLong: boolean;
  /** How the weights are kept that computed it: an ORTSHARD_PRECISION_* constant. */
  precision: number;
  /** The model, as in ortshard_boundary: frames of other models have another. */
  model: string;
}

export interface ModelInfo {
  /** The architecture, such as "LlamaForCausalLM". */
  architecture: string;
  /** Number of layers; the last one's index is one less. */
  layerCount: number;
  /** Width of hidden states. */
  hiddenSize: number;
  /** Number of token ids, and width of logits. */
  vocabSize: number;
  /** The longest sequence the model allows, in tokens. */
  maxPositions: number;
}

export interface Boundary {
  /** The layer in front of it. */
  layer: number;
  /** 1 if the model can be cut here, else 0. */
  canCut: boolean;
  /** Why not, as UTF-8; "" if it can. */
  reason: string;
  /**
   * The model, as hexadecimal digits: a hash of the numbers of config.json that decide results. The frames of two
   * shards fit only if both have the same.
   */
  model: string;
  /** Number of the parts that pass. */
  partCount: number;
  /** Values of a token in the part ORTSHARD_ROLE_HIDDEN_STATES. */
  hiddenStatesWidth: number;
  /** Values of a token in the part ORTSHARD_ROLE_PER_LAYER_INPUTS; 0 if there is none. */
  perLayerInputsWidth: number;
  /** Bytes in front of a frame's parts. */
  headerBytes: number;
  /** Bytes of a token, all parts, as F32: 4 for each value. */
  f32BytesPerToken: number;
  /** The same as F16: 2 for each value. */
  f16BytesPerToken: number;
  /** The same as BF16: 2 for each value. */
  bf16BytesPerToken: number;
  /** Values of a token in the part ORTSHARD_ROLE_STREAMS; 0 if there is none. */
  streamsWidth: number;
}

export interface EngineEstimate {
  /**
   * The weights, as stored: pages of files, shared by all processes that map them. On a device that is not the
   * processor, and with stock_operators, also the copies that ONNX Runtime keeps.
   */
  weightBytes: number;
  /**
   * The KV caches of all the requests, and what they keep besides of layers with a state of fixed size: those states,
   * as many as are put aside by default, and the input.
   */
  kvBytes: number;
  /**
   * Activations of one run, of up to 512 tokens or as many as the engine's memory_limit has room for, and its
   * output: the last token's logits, or all hidden states.
   */
  runBytes: number;
  /**
   * The most that the engine holds while it loads: what it holds now (if it releases first, without its shard), the
   * weights, the passing copies of those that are copied and, under a memory_limit, the activations, which are
   * reserved then.
   */
  loadPeakBytes: number;
  /** Weights, KV caches and one run. */
  totalBytes: number;
  /**
   * The last layer (INCLUSIVE) of the largest range from the spec's first layer on that can be loaded and used
   * within the engine's memory_limit or, without one, in what the machine has available; ORTSHARD_NO_LAYER if none
   * can.
   */
  largestLastLayer: number;
  /** Bytes of weights that one token reads: of an embedding a row, of experts those that it passes. */
  tokenBytes: number;
}

export interface PlanDevice {
  /** Bytes of memory that are free on it; not 0. */
  freeMemory?: number;
  /**
   * Bytes of weights that it reads in a second. 0: unknown; then it is taken for as fast as the slowest one that is
   * known, and all for 10e9 if none is.
   */
  bandwidth?: number;
  /**
   * Seconds from its stage to the next one, whichever device that is on: what its own link takes. It is the
   * device's and not that of a pair, so that the order of devices changes no sum of them, and all orders can be
   * tried.
   */
  hopSeconds?: number;
  /** Not 0: it must hold layers. 0: it may be left out. */
  isRequired?: boolean;
}

export interface PlanOptions {
  /** Tokens of each request. 0: the model's maximum, at most 4096. */
  context?: number;
  /** Requests at once. */
  requests?: number;
  /** The part of each device's free memory that stays free: at least 0, less than 1. */
  margin?: number;
  /** Not 0: the stages are in the order of the devices. 0: any order is tried. */
  keepOrder?: boolean;
  /** The devices. */
  devices?: PlanDevice[];
}

export interface PlanStage {
  /** The device: its index in the options' `devices`. */
  device: number;
  /** The first layer. */
  firstLayer: number;
  /** The last layer (INCLUSIVE). */
  lastLayer: number;
  /** Its weights, as the estimate of its layers says. */
  weightBytes: number;
  /** What the requests keep on it, likewise. */
  kvBytes: number;
  /** One run and its output, likewise. */
  runBytes: number;
  /** The weights that one token reads, likewise. */
  tokenBytes: number;
  /**
   * Bytes that must be there: the sum of weights, KV caches and a run or, where that is more, the peak while it
   * loads.
   */
  neededBytes: number;
  /** Bytes that are there: the device's free memory less the margin. */
  roomBytes: number;
  /**
   * Seconds of a step: the bytes that it reads, by the device's bandwidth. These are token_bytes, on a processor
   * once for each four of its requests, since their arithmetic takes as long; and what each request keeps here, in
   * the mean over its context.
   */
  seconds: number;
  /** Seconds to the next stage; 0 behind the last one. */
  hopSeconds: number;
}

export interface File {
  /** Its name within the model. */
  name: string | null;
  /** Where it lies on this machine; NULL if it is missing. */
  path: string | null;
  /** Its bytes; 0 if that is not known. */
  size: number;
  /** An ORTSHARD_FILE_* constant. */
  state: number;
}

export interface EngineStats {
  /** Shards loaded. */
  shardsLoaded: number;
  /** Tokens run through its shards. */
  tokens: number;
  /** Times that memory ran out while a shard was loaded. */
  outOfMemoryLoad: number;
  /** Times that memory ran out while a KV cache was reserved. */
  outOfMemoryKv: number;
  /** Times that memory ran out in a run. */
  outOfMemoryRun: number;
}

export interface RuntimeOptions {
  /**
   * The library file, or a folder that holds it, as Python's and Node's packages do (onnxruntime/capi). NULL: the
   * first of the environment's ORTSHARD_ONNXRUNTIME and ORT_DYLIB_PATH, a file beside this library or the program,
   * and what the system's loader finds. Names with a version (libonnxruntime.so.1.31.1) count, too: the newest. What
   * is named but cannot be used is an error; the search does not go on.
   */
  library?: string;
  /**
   * Threads that one run may use, the calling one included. 0: the environment's ORTSHARD_THREADS, else as many as
   * the process may use processors.
   */
  threads?: number;
  /**
   * Not 0: idle threads sleep at once instead of spinning for a short while. Saves processor time between runs and
   * costs speed within them.
   */
  noSpinning?: boolean;
}

export interface RuntimeInfo {
  /** Its version, such as "1.31.1". */
  version: string | null;
  /** The file it was loaded from. */
  path: string | null;
  /** Threads that one run may use, the calling one included. */
  threads: number;
}

export interface DeviceInfo {
  /** An ORTSHARD_DEVICE_* constant. */
  kind: number;
  /** Which one of its kind, from 0. */
  index: number;
  /** What its maker calls it. */
  name: string;
  /** Bytes of memory it has; 0 if unknown. */
  totalMemory: number;
  /** Bytes of it that are free now; 0 if unknown. */
  availableMemory: number;
}
