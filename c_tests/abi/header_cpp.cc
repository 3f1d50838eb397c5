// The header compiles as C++17, macros included, and its functions have C linkage. two_units.c calls this.
#include "ortshard.h"

#include <cstring>

extern "C" int cpp_half(void);

int cpp_half(void)
{
    ortshard_runtime_options runtime = ORTSHARD_RUNTIME_OPTIONS_INIT;
    ortshard_runtime_info runtime_info = ORTSHARD_RUNTIME_INFO_INIT;
    ortshard_device_info device = ORTSHARD_DEVICE_INFO_INIT;
    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    ortshard_engine_options engine = ORTSHARD_ENGINE_OPTIONS_INIT;
    ortshard_engine_stats stats = ORTSHARD_ENGINE_STATS_INIT;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    ortshard_shard_info shard = ORTSHARD_SHARD_INFO_INIT;
    ortshard_request_options request = ORTSHARD_REQUEST_OPTIONS_INIT;
    ortshard_sampler_options sampler = ORTSHARD_SAMPLER_OPTIONS_INIT;
    ortshard_engine_estimate estimate = ORTSHARD_ENGINE_ESTIMATE_INIT;
    ortshard_oom oom = ORTSHARD_OOM_INIT;
    std::size_t sizes = runtime.struct_size + runtime_info.struct_size + device.struct_size + model.struct_size +
                        engine.struct_size + stats.struct_size + spec.struct_size + shard.struct_size +
                        request.struct_size + sampler.struct_size + estimate.struct_size + oom.struct_size;
    return sizes == 0 || std::strlen(ortshard_version()) == 0;
}
