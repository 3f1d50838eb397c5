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

SIZE(ortshard_runtime_info, 32);
AT(ortshard_runtime_info, version, 8);
AT(ortshard_runtime_info, path, 16);
AT(ortshard_runtime_info, threads, 24);

SIZE(ortshard_device_info, 160);
AT(ortshard_device_info, kind, 8);
AT(ortshard_device_info, index, 12);
AT(ortshard_device_info, name, 16);
AT(ortshard_device_info, total_memory, 144);
AT(ortshard_device_info, available_memory, 152);

SIZE(ortshard_model_info, 88);
AT(ortshard_model_info, architecture, 8);
AT(ortshard_model_info, n_layers, 72);
AT(ortshard_model_info, hidden_size, 76);
AT(ortshard_model_info, vocab_size, 80);
AT(ortshard_model_info, max_positions, 84);

SIZE(ortshard_engine_options, 96);
AT(ortshard_engine_options, memory_limit, 24);
AT(ortshard_engine_options, fetch, 48);
SIZE(ortshard_file, 40);
SIZE(ortshard_engine_estimate, 56);
AT(ortshard_engine_options, device, 8);
AT(ortshard_engine_options, device_index, 12);
AT(ortshard_engine_options, require_device, 16);
AT(ortshard_engine_options, precision, 20);
AT(ortshard_engine_options, stock_operators, 80);
AT(ortshard_engine_options, kv_type, 84);
AT(ortshard_engine_options, batch_slots, 88);
AT(ortshard_engine_options, no_graph_capture, 92);

SIZE(ortshard_engine_stats, 48);
AT(ortshard_engine_stats, shards_loaded, 8);
AT(ortshard_engine_stats, tokens, 16);
AT(ortshard_engine_stats, out_of_memory_load, 24);
AT(ortshard_engine_stats, out_of_memory_kv, 32);
AT(ortshard_engine_stats, out_of_memory_run, 40);

SIZE(ortshard_shard_spec, 40);
AT(ortshard_shard_spec, model, 8);
AT(ortshard_shard_spec, revision, 16);
AT(ortshard_shard_spec, first_layer, 24);
AT(ortshard_shard_spec, last_layer, 28);
AT(ortshard_shard_spec, n_layers, 32);

SIZE(ortshard_progress, 48);
AT(ortshard_progress, stage, 8);
AT(ortshard_progress, bytes_done, 16);
AT(ortshard_progress, bytes_total, 24);
AT(ortshard_progress, tensors_done, 32);
AT(ortshard_progress, tensors_total, 40);

SIZE(ortshard_shard_info, 152);
AT(ortshard_shard_info, architecture, 8);
AT(ortshard_shard_info, first_layer, 72);
AT(ortshard_shard_info, last_layer, 76);
AT(ortshard_shard_info, n_layers, 80);
AT(ortshard_shard_info, is_first, 84);
AT(ortshard_shard_info, is_last, 88);
AT(ortshard_shard_info, hidden_size, 92);
AT(ortshard_shard_info, vocab_size, 96);
AT(ortshard_shard_info, max_positions, 100);
AT(ortshard_shard_info, weight_dtype, 104);
AT(ortshard_shard_info, device, 108);
AT(ortshard_shard_info, device_index, 112);
AT(ortshard_shard_info, weight_bytes, 120);
AT(ortshard_shard_info, kv_bytes_per_token, 128);
AT(ortshard_shard_info, requested_device, 136);
AT(ortshard_shard_info, requested_device_index, 140);
AT(ortshard_shard_info, nodes, 144);
AT(ortshard_shard_info, cpu_nodes, 148);

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
