/* The header compiles alone as C11, and structs lie in memory as programs compiled with it rely on. */
#include "ortshard.h"

#define AT(type, field, place) _Static_assert(offsetof(type, field) == (place), #type "." #field)
#define SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)

_Static_assert(ORTSHARD_ABI_VERSION == 0, "look at every number below before changing this one");
_Static_assert(sizeof(ortshard_status) == 4 && (ortshard_status)-1 < 0, "status");
_Static_assert(ORTSHARD_LAST_LAYER == UINT32_MAX, "last layer");

#if UINTPTR_MAX == UINT64_MAX
SIZE(ortshard_tensor, 56);
AT(ortshard_tensor, rank, 4);
AT(ortshard_tensor, shape, 8);
AT(ortshard_tensor, data, 40);
AT(ortshard_tensor, byte_length, 48);

SIZE(ortshard_chat_message, 16);
AT(ortshard_chat_message, content, 8);

SIZE(ortshard_oom, 48);
AT(ortshard_oom, site, 8);
AT(ortshard_oom, device, 12);
AT(ortshard_oom, requested_bytes, 40);

SIZE(ortshard_runtime_options, 24);
AT(ortshard_runtime_options, library, 8);
AT(ortshard_runtime_options, threads, 16);
AT(ortshard_runtime_options, no_spinning, 20);

SIZE(ortshard_runtime_description, 32);
AT(ortshard_runtime_description, version, 8);
AT(ortshard_runtime_description, path, 16);
AT(ortshard_runtime_description, threads, 24);

SIZE(ortshard_device_description, 160);
AT(ortshard_device_description, kind, 8);
AT(ortshard_device_description, index, 12);
AT(ortshard_device_description, name, 16);
AT(ortshard_device_description, total_memory, 144);
AT(ortshard_device_description, available_memory, 152);

SIZE(ortshard_model_description, 88);
AT(ortshard_model_description, architecture, 8);
AT(ortshard_model_description, n_layers, 72);
AT(ortshard_model_description, hidden_size, 76);
AT(ortshard_model_description, vocab_size, 80);
AT(ortshard_model_description, max_positions, 84);

SIZE(ortshard_engine_options, 96);
AT(ortshard_engine_options, memory_limit, 24);
AT(ortshard_engine_options, fetch, 48);
SIZE(ortshard_file, 40);
SIZE(ortshard_memory_estimate, 56);
AT(ortshard_engine_options, device, 8);
AT(ortshard_engine_options, device_index, 12);
AT(ortshard_engine_options, require_device, 16);
AT(ortshard_engine_options, precision, 20);
AT(ortshard_engine_options, stock_operators, 80);
AT(ortshard_engine_options, kv_type, 84);
AT(ortshard_engine_options, batch_slots, 88);
AT(ortshard_engine_options, no_graph_capture, 92);

SIZE(ortshard_engine_counters, 48);
AT(ortshard_engine_counters, shards_loaded, 8);
AT(ortshard_engine_counters, tokens, 16);
AT(ortshard_engine_counters, out_of_memory_load, 24);
AT(ortshard_engine_counters, out_of_memory_kv, 32);
AT(ortshard_engine_counters, out_of_memory_run, 40);

SIZE(ortshard_shard_spec, 40);
AT(ortshard_shard_spec, revision, 32);
AT(ortshard_shard_spec, model, 8);
AT(ortshard_shard_spec, first_layer, 16);
AT(ortshard_shard_spec, last_layer, 20);
AT(ortshard_shard_spec, n_layers, 24);

SIZE(ortshard_progress, 48);
AT(ortshard_progress, stage, 8);
AT(ortshard_progress, bytes_done, 16);
AT(ortshard_progress, bytes_total, 24);
AT(ortshard_progress, tensors_done, 32);
AT(ortshard_progress, tensors_total, 40);

SIZE(ortshard_shard_description, 152);
AT(ortshard_shard_description, architecture, 8);
AT(ortshard_shard_description, first_layer, 72);
AT(ortshard_shard_description, last_layer, 76);
AT(ortshard_shard_description, n_layers, 80);
AT(ortshard_shard_description, is_first, 84);
AT(ortshard_shard_description, is_last, 88);
AT(ortshard_shard_description, hidden_size, 92);
AT(ortshard_shard_description, vocab_size, 96);
AT(ortshard_shard_description, max_positions, 100);
AT(ortshard_shard_description, weight_dtype, 104);
AT(ortshard_shard_description, device, 108);
AT(ortshard_shard_description, device_index, 112);
AT(ortshard_shard_description, weight_bytes, 120);
AT(ortshard_shard_description, kv_bytes_per_token, 128);
AT(ortshard_shard_description, requested_device, 136);
AT(ortshard_shard_description, requested_device_index, 140);
AT(ortshard_shard_description, nodes, 144);
AT(ortshard_shard_description, cpu_nodes, 148);

SIZE(ortshard_request_options, 24);
AT(ortshard_request_options, capacity, 8);
AT(ortshard_request_options, prefill_chunk, 12);
AT(ortshard_request_options, no_cache, 16);
AT(ortshard_request_options, hidden_dtype, 20);

SIZE(ortshard_sampler_options, 24);
AT(ortshard_sampler_options, temperature, 8);
AT(ortshard_sampler_options, top_k, 12);
AT(ortshard_sampler_options, seed, 16);
#endif

int main(void)
{
    return ortshard_abi_version() != ORTSHARD_ABI_VERSION;
}
