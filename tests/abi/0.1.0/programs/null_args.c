/* NULL for any pointer of any function is an error that names the parameter; nothing is written, nothing crashes. */
#include "check.h"
#include "model.h"

#define NULL_(parameter, call) FAILS(NULL_ARGUMENT, parameter " is NULL", call)

int main(void)
{
    int64_t id = 1, ids[4];
    int32_t is_eos;
    uint32_t count;
    uint64_t number;
    size_t needed, length;
    char buffer[8];
    const char *text;
    float logit = 0;

    /* Nothing to free. */
    ortshard_engine_free(NULL);
    ortshard_shard_free(NULL);
    ortshard_request_free(NULL);
    ortshard_sampler_free(NULL);
    ortshard_tokenizer_free(NULL);
    ortshard_text_stream_free(NULL);
    ortshard_generation_free(NULL);
    ortshard_chat_parser_free(NULL);

    /* Process. NULL options and callbacks are allowed. */
    OK(ortshard_log_set_callback(ORTSHARD_LOG_INFO, NULL, NULL));
    CHECK(ortshard_error_get_oom(NULL, NULL) == ORTSHARD_ERROR_NULL_ARGUMENT);
    NULL_("info", ortshard_runtime_get_info(NULL));
    NULL_("count", ortshard_device_count(NULL));
    NULL_("info", ortshard_device_get_info(0, NULL));
    NULL_("options", ortshard_runtime_options_init(NULL, sizeof(ortshard_runtime_options)));
    NULL_("options", ortshard_engine_options_init(NULL, sizeof(ortshard_engine_options)));
    NULL_("spec", ortshard_shard_spec_init(NULL, sizeof(ortshard_shard_spec)));
    NULL_("options", ortshard_request_options_init(NULL, sizeof(ortshard_request_options)));
    NULL_("options", ortshard_sampler_options_init(NULL, sizeof(ortshard_sampler_options)));
    NULL_("options", ortshard_generation_options_init(NULL, sizeof(ortshard_generation_options)));
    NULL_("step", ortshard_step_init(NULL, sizeof(ortshard_step)));
    OK(ortshard_device_count(&count));

    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    ortshard_sampler_options chosen = ORTSHARD_SAMPLER_OPTIONS_INIT;
    NULL_("model", ortshard_model_get_info(NULL, &model));
    NULL_("info", ortshard_model_get_info("x", NULL));
    NULL_("model", ortshard_model_eos(NULL, ids, 4, &needed));
    NULL_("ids", ortshard_model_eos("x", NULL, 4, &needed));
    NULL_("needed", ortshard_model_eos("x", ids, 4, NULL));
    NULL_("model", ortshard_model_get_sampler_options(NULL, &chosen));
    NULL_("options", ortshard_model_get_sampler_options("x", NULL));

    ortshard_boundary boundary = ORTSHARD_BOUNDARY_INIT;
    NULL_("model", ortshard_model_get_boundary(NULL, 0, &boundary));
    NULL_("boundary", ortshard_model_get_boundary("x", 0, NULL));

    /* Frame. */
    ortshard_frame_info frame = ORTSHARD_FRAME_INFO_INIT;
    ortshard_piece pieces[2];
    NULL_("start", ortshard_frame_size(NULL, 32, &needed));
    NULL_("frame_size", ortshard_frame_size(buffer, 8, NULL));
    NULL_("frame", ortshard_frame_get_info(NULL, 32, &frame));
    NULL_("info", ortshard_frame_get_info(buffer, 8, NULL));
    NULL_("frame", ortshard_frame_get_part(NULL, 32, 0, NULL, NULL));
    NULL_("request", ortshard_request_frame_pieces(NULL, pieces, 2, &needed));

    /* Sampler. */
    ortshard_sampler *sampler;
    NULL_("sampler", ortshard_sampler_create(NULL, NULL));
    OK(ortshard_sampler_create(NULL, &sampler));
    NULL_("sampler", ortshard_sampler_sample(NULL, &logit, 1, &id));
    NULL_("logits", ortshard_sampler_sample(sampler, NULL, 1, &id));
    NULL_("id", ortshard_sampler_sample(sampler, &logit, 1, NULL));
    NULL_("sampler", ortshard_sampler_reset(NULL));
    NULL_("sampler", ortshard_sampler_accept(NULL, ids, 1));
    NULL_("ids", ortshard_sampler_accept(sampler, NULL, 1));
    ortshard_sampler_free(sampler);

    /* Tokenizer and text stream. */
    ortshard_tokenizer *tokenizer = (ortshard_tokenizer *)(void *)buffer;
    NULL_("path", ortshard_tokenizer_open(NULL, &tokenizer));
    CHECK(tokenizer == NULL);
    NULL_("tokenizer", ortshard_tokenizer_open("x", NULL));
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    NULL_("tokenizer", ortshard_tokenizer_encode(NULL, "x", 0, ids, 4, &needed));
    NULL_("text", ortshard_tokenizer_encode(tokenizer, NULL, 0, ids, 4, &needed));
    NULL_("ids", ortshard_tokenizer_encode(tokenizer, "x", 0, NULL, 4, &needed));
    NULL_("needed", ortshard_tokenizer_encode(tokenizer, "x", 0, ids, 4, NULL));
    NULL_("tokenizer", ortshard_tokenizer_decode(NULL, &id, 1, 0, buffer, 8, &needed));
    NULL_("ids", ortshard_tokenizer_decode(tokenizer, NULL, 1, 0, buffer, 8, &needed));
    NULL_("buffer", ortshard_tokenizer_decode(tokenizer, &id, 1, 0, NULL, 8, &needed));
    NULL_("needed", ortshard_tokenizer_decode(tokenizer, &id, 1, 0, buffer, 8, NULL));
    NULL_("tokenizer", ortshard_tokenizer_vocab_size(NULL, &needed));
    NULL_("vocab_size", ortshard_tokenizer_vocab_size(tokenizer, NULL));
    NULL_("tokenizer", ortshard_tokenizer_bos(NULL, &id));
    NULL_("id", ortshard_tokenizer_bos(tokenizer, NULL));
    NULL_("tokenizer", ortshard_tokenizer_pad(NULL, &id));
    NULL_("id", ortshard_tokenizer_pad(tokenizer, NULL));
    NULL_("tokenizer", ortshard_tokenizer_eos(NULL, ids, 4, &needed));
    NULL_("ids", ortshard_tokenizer_eos(tokenizer, NULL, 4, &needed));
    NULL_("needed", ortshard_tokenizer_eos(tokenizer, ids, 4, NULL));
    NULL_("tokenizer", ortshard_tokenizer_is_eos(NULL, 1, &is_eos));
    NULL_("is_eos", ortshard_tokenizer_is_eos(tokenizer, 1, NULL));
    ortshard_chat_message message = {"user", "Hi"};
    NULL_("tokenizer", ortshard_tokenizer_apply_chat_template(NULL, &message, 1, 0, buffer, 8, &needed));
    NULL_("messages", ortshard_tokenizer_apply_chat_template(tokenizer, NULL, 1, 0, buffer, 8, &needed));
    NULL_("buffer", ortshard_tokenizer_apply_chat_template(tokenizer, &message, 1, 0, NULL, 8, &needed));
    NULL_("needed", ortshard_tokenizer_apply_chat_template(tokenizer, &message, 1, 0, buffer, 8, NULL));

    const char *texts[] = {"x", NULL};
    ortshard_byte_range ranges[4];
    NULL_("tokenizer", ortshard_tokenizer_encode_texts(NULL, texts, 1, NULL, ids, 4, &needed, NULL));
    NULL_("texts", ortshard_tokenizer_encode_texts(tokenizer, NULL, 1, NULL, ids, 4, &needed, NULL));
    NULL_("texts[1]", ortshard_tokenizer_encode_texts(tokenizer, texts, 2, NULL, ids, 4, &needed, NULL));
    NULL_("ids", ortshard_tokenizer_encode_texts(tokenizer, texts, 1, NULL, NULL, 4, &needed, NULL));
    NULL_("needed", ortshard_tokenizer_encode_texts(tokenizer, texts, 1, NULL, ids, 4, NULL, NULL));
    NULL_("tokenizer", ortshard_tokenizer_encode_with_ranges(NULL, "x", NULL, ids, ranges, 4, &needed));
    NULL_("text", ortshard_tokenizer_encode_with_ranges(tokenizer, NULL, NULL, ids, ranges, 4, &needed));
    NULL_("ids", ortshard_tokenizer_encode_with_ranges(tokenizer, "x", NULL, NULL, ranges, 4, &needed));
    NULL_("ranges", ortshard_tokenizer_encode_with_ranges(tokenizer, "x", NULL, ids, NULL, 4, &needed));
    NULL_("needed", ortshard_tokenizer_encode_with_ranges(tokenizer, "x", NULL, ids, ranges, 4, NULL));
    NULL_("tokenizer", ortshard_tokenizer_token_to_id(NULL, "x", &id));
    NULL_("token", ortshard_tokenizer_token_to_id(tokenizer, NULL, &id));
    NULL_("id", ortshard_tokenizer_token_to_id(tokenizer, "x", NULL));
    NULL_("tokenizer", ortshard_tokenizer_id_to_token(NULL, 1, buffer, 8, &needed));
    NULL_("buffer", ortshard_tokenizer_id_to_token(tokenizer, 1, NULL, 8, &needed));
    NULL_("needed", ortshard_tokenizer_id_to_token(tokenizer, 1, buffer, 8, NULL));
    NULL_("tokenizer", ortshard_tokenizer_token_bytes(NULL, 1, buffer, 8, &needed));
    NULL_("buffer", ortshard_tokenizer_token_bytes(tokenizer, 1, NULL, 8, &needed));
    NULL_("needed", ortshard_tokenizer_token_bytes(tokenizer, 1, buffer, 8, NULL));
    NULL_("tokenizer", ortshard_tokenizer_is_special(NULL, 1, &is_eos));
    NULL_("is_special", ortshard_tokenizer_is_special(tokenizer, 1, NULL));
    NULL_("options", ortshard_encode_options_init(NULL, sizeof(ortshard_encode_options)));
    NULL_("options", ortshard_chat_options_init(NULL, sizeof(ortshard_chat_options)));
    NULL_("tokenizer", ortshard_tokenizer_chat_text(NULL, "[]", NULL, buffer, 8, &needed));
    NULL_("messages", ortshard_tokenizer_chat_text(tokenizer, NULL, NULL, buffer, 8, &needed));
    NULL_("buffer", ortshard_tokenizer_chat_text(tokenizer, "[]", NULL, NULL, 8, &needed));
    NULL_("needed", ortshard_tokenizer_chat_text(tokenizer, "[]", NULL, buffer, 8, NULL));
    NULL_("tokenizer", ortshard_tokenizer_chat_ids(NULL, "[]", NULL, ids, 4, &needed));
    NULL_("messages", ortshard_tokenizer_chat_ids(tokenizer, NULL, NULL, ids, 4, &needed));
    NULL_("ids", ortshard_tokenizer_chat_ids(tokenizer, "[]", NULL, NULL, 4, &needed));
    NULL_("needed", ortshard_tokenizer_chat_ids(tokenizer, "[]", NULL, ids, 4, NULL));

    ortshard_chat_parser *parser = (ortshard_chat_parser *)(void *)buffer;
    ortshard_chat_event event = ORTSHARD_CHAT_EVENT_INIT;
    NULL_("options", ortshard_chat_parser_options_init(NULL, sizeof(ortshard_chat_parser_options)));
    NULL_("event", ortshard_chat_event_init(NULL, sizeof(ortshard_chat_event)));
    NULL_("tokenizer", ortshard_chat_parser_create(NULL, NULL, &parser));
    CHECK(parser == NULL);
    NULL_("parser", ortshard_chat_parser_create(tokenizer, NULL, NULL));
    OK(ortshard_chat_parser_create(tokenizer, NULL, &parser));
    NULL_("parser", ortshard_chat_parser_push(NULL, "x", 1));
    NULL_("text", ortshard_chat_parser_push(parser, NULL, 1));
    NULL_("parser", ortshard_chat_parser_finish(NULL));
    NULL_("parser", ortshard_chat_parser_next(NULL, &event));
    NULL_("event", ortshard_chat_parser_next(parser, NULL));
    NULL_("parser", ortshard_chat_parser_message(NULL, buffer, 8, &needed));
    NULL_("buffer", ortshard_chat_parser_message(parser, NULL, 8, &needed));
    NULL_("needed", ortshard_chat_parser_message(parser, buffer, 8, NULL));
    ortshard_chat_parser_free(parser);

    ortshard_text_stream *stream = (ortshard_text_stream *)(void *)buffer;
    NULL_("tokenizer", ortshard_text_stream_create(NULL, 0, &stream));
    CHECK(stream == NULL);
    NULL_("stream", ortshard_text_stream_create(tokenizer, 0, NULL));
    OK(ortshard_text_stream_create(tokenizer, 0, &stream));
    NULL_("stream", ortshard_text_stream_push(NULL, 1, &text, &length));
    NULL_("text", ortshard_text_stream_push(stream, 1, NULL, &length));
    NULL_("length", ortshard_text_stream_push(stream, 1, &text, NULL));
    NULL_("stream", ortshard_text_stream_finish(NULL, &text, &length));
    NULL_("text", ortshard_text_stream_finish(stream, NULL, &length));
    NULL_("length", ortshard_text_stream_finish(stream, &text, NULL));
    ortshard_text_stream_free(stream);
    ortshard_tokenizer_free(tokenizer);

    /* Engine. */
    ortshard_engine *engine;
    ortshard_shard *shard = (ortshard_shard *)(void *)buffer;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    ortshard_engine_stats stats = ORTSHARD_ENGINE_STATS_INIT;
    NULL_("engine", ortshard_engine_create(NULL, NULL));
    OK(ortshard_engine_create(NULL, &engine));
    NULL_("engine", ortshard_engine_ensure_shard(NULL, &spec, NULL, NULL, &shard));
    CHECK(shard == NULL);
    NULL_("spec", ortshard_engine_ensure_shard(engine, NULL, NULL, NULL, &shard));
    NULL_("spec->model", ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    spec.model = setting("TEST_MODEL");
    NULL_("shard", ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, NULL));
    NULL_("engine", ortshard_engine_current_shard(NULL, &shard));
    NULL_("shard", ortshard_engine_current_shard(engine, NULL));
    NULL_("engine", ortshard_engine_clear(NULL));
    NULL_("engine", ortshard_engine_clear_pack_cache(NULL, NULL));
    NULL_("engine", ortshard_engine_get_stats(NULL, &stats));
    NULL_("stats", ortshard_engine_get_stats(engine, NULL));
    ortshard_engine_estimate estimate = ORTSHARD_ENGINE_ESTIMATE_INIT;
    NULL_("engine", ortshard_engine_get_estimate(NULL, &spec, 1, 1, &estimate));
    NULL_("spec", ortshard_engine_get_estimate(engine, NULL, 1, 1, &estimate));
    NULL_("estimate", ortshard_engine_get_estimate(engine, &spec, 1, 1, NULL));
    NULL_("engine", ortshard_engine_audit_files(NULL, &spec, NULL, NULL));
    NULL_("callback", ortshard_engine_audit_files(engine, &spec, NULL, NULL));
    NULL_("engine", ortshard_engine_load_checkpoint(NULL, "x", NULL, NULL, &shard));
    NULL_("checkpoint", ortshard_engine_load_checkpoint(engine, NULL, NULL, NULL, &shard));
    NULL_("shard", ortshard_engine_load_checkpoint(engine, "x", NULL, NULL, NULL));
    NULL_("engine", ortshard_engine_save_checkpoint(NULL, "x"));
    NULL_("path", ortshard_engine_save_checkpoint(engine, NULL));
    NULL_("engine", ortshard_engine_get_model_info(NULL, &spec, NULL, NULL, &model));
    NULL_("spec", ortshard_engine_get_model_info(engine, NULL, NULL, NULL, &model));
    NULL_("info", ortshard_engine_get_model_info(engine, &spec, NULL, NULL, NULL));
    NULL_("engine", ortshard_engine_model_eos(NULL, &spec, NULL, NULL, ids, 4, &needed));
    NULL_("spec", ortshard_engine_model_eos(engine, NULL, NULL, NULL, ids, 4, &needed));
    NULL_("ids", ortshard_engine_model_eos(engine, &spec, NULL, NULL, NULL, 4, &needed));
    NULL_("needed", ortshard_engine_model_eos(engine, &spec, NULL, NULL, ids, 4, NULL));
    NULL_("engine", ortshard_engine_get_sampler_options(NULL, &spec, NULL, NULL, &chosen));
    NULL_("spec", ortshard_engine_get_sampler_options(engine, NULL, NULL, NULL, &chosen));
    NULL_("options", ortshard_engine_get_sampler_options(engine, &spec, NULL, NULL, NULL));
    NULL_("engine", ortshard_engine_get_boundary(NULL, &spec, 0, NULL, NULL, &boundary));
    NULL_("spec", ortshard_engine_get_boundary(engine, NULL, 0, NULL, NULL, &boundary));
    NULL_("boundary", ortshard_engine_get_boundary(engine, &spec, 0, NULL, NULL, NULL));
    tokenizer = (ortshard_tokenizer *)(void *)buffer;
    NULL_("engine", ortshard_engine_open_tokenizer(NULL, &spec, NULL, NULL, &tokenizer));
    CHECK(tokenizer == NULL);
    NULL_("spec", ortshard_engine_open_tokenizer(engine, NULL, NULL, NULL, &tokenizer));
    NULL_("tokenizer", ortshard_engine_open_tokenizer(engine, &spec, NULL, NULL, NULL));
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_engine_free(engine);

    /* Shard. */
    ortshard_shard_info description = ORTSHARD_SHARD_INFO_INIT;
    NULL_("shard", ortshard_shard_retain(NULL));
    NULL_("shard", ortshard_shard_get_info(NULL, &description));
    NULL_("info", ortshard_shard_get_info(shard, NULL));
    NULL_("shard", ortshard_shard_export_onnx(NULL, "x"));
    NULL_("path", ortshard_shard_export_onnx(shard, NULL));

    /* Request. */
    ortshard_request *request = (ortshard_request *)(void *)buffer;
    ortshard_tensor input = ids_tensor(&id, 1), output;
    NULL_("shard", ortshard_request_create(NULL, NULL, &request));
    CHECK(request == NULL);
    NULL_("request", ortshard_request_create(shard, NULL, NULL));
    OK(ortshard_request_create(shard, NULL, &request));
    NULL_("request", ortshard_request_infer(NULL, &input, 0, &output));
    CHECK(output.data == NULL && output.rank == 0);
    NULL_("input", ortshard_request_infer(request, NULL, 0, &output));
    NULL_("output", ortshard_request_infer(request, &input, 0, NULL));
    ortshard_request *fork = request;
    NULL_("request", ortshard_request_fork(NULL, &fork));
    CHECK(fork == NULL);
    NULL_("fork", ortshard_request_fork(request, NULL));
    NULL_("request", ortshard_request_export_state(NULL, buffer, 8, &needed));
    NULL_("buffer", ortshard_request_export_state(request, NULL, 8, &needed));
    NULL_("needed", ortshard_request_export_state(request, buffer, 8, NULL));
    NULL_("request", ortshard_request_import_state(NULL, buffer, 8));
    NULL_("state", ortshard_request_import_state(request, NULL, 8));
    NULL_("state", ortshard_request_import_state(request, NULL, 0));
    input.data = NULL;
    NULL_("input->data", ortshard_request_infer(request, &input, 0, &output));
    input.data = &id;
    NULL_("request", ortshard_request_infer_into(NULL, &input, 0, buffer, 8, &output));
    NULL_("input", ortshard_request_infer_into(request, NULL, 0, buffer, 8, &output));
    NULL_("buffer", ortshard_request_infer_into(request, &input, 0, NULL, 8, &output));
    NULL_("output", ortshard_request_infer_into(request, &input, 0, buffer, 8, NULL));
    NULL_("requests", ortshard_batch_infer(NULL, &input, NULL, 1, &output, NULL));
    NULL_("requests[0]", ortshard_batch_infer(&(ortshard_request *){NULL}, &input, NULL, 1, &output, NULL));
    NULL_("inputs", ortshard_batch_infer(&request, NULL, NULL, 1, &output, NULL));
    NULL_("outputs", ortshard_batch_infer(&request, &input, NULL, 1, NULL, NULL));
    float logits[1];
    NULL_("request", ortshard_request_logits(NULL, &id, 1, logits, 1, &needed));
    NULL_("ids", ortshard_request_logits(request, NULL, 1, logits, 1, &needed));
    NULL_("logits", ortshard_request_logits(request, &id, 1, NULL, 1, &needed));
    NULL_("needed", ortshard_request_logits(request, &id, 1, logits, 1, NULL));
    NULL_("request", ortshard_request_sample(NULL, &id, 1, NULL, &id));
    NULL_("ids", ortshard_request_sample(request, NULL, 1, NULL, &id));
    NULL_("id", ortshard_request_sample(request, &id, 1, NULL, NULL));
    NULL_("pieces", ortshard_request_frame_pieces(request, NULL, 2, &needed));
    NULL_("needed", ortshard_request_frame_pieces(request, pieces, 2, NULL));
    NULL_("request", ortshard_request_position(NULL, &number));
    NULL_("position", ortshard_request_position(request, NULL));
    NULL_("request", ortshard_request_capacity(NULL, &number));
    NULL_("capacity", ortshard_request_capacity(request, NULL));
    NULL_("request", ortshard_request_truncate(NULL, 0));
    NULL_("request", ortshard_request_cancel(NULL));
    NULL_("request", ortshard_request_clear_cancel(NULL));
    OK(ortshard_request_position(request, &number));

    /* Generation. */
    ortshard_generation *generation = (ortshard_generation *)(void *)buffer;
    ortshard_generation_options generated = ORTSHARD_GENERATION_OPTIONS_INIT;
    ortshard_step step = ORTSHARD_STEP_INIT;
    const char *const stops[1] = {NULL};
    NULL_("requests", ortshard_generation_create(NULL, 1, NULL, NULL, &generation));
    CHECK(generation == NULL);
    NULL_("requests[0]", ortshard_generation_create(&(ortshard_request *){NULL}, 1, NULL, NULL, &generation));
    NULL_("generation", ortshard_generation_create(&request, 1, NULL, NULL, NULL));
    generated.stop_count = 1;
    NULL_("stop", ortshard_generation_create(&request, 1, NULL, &generated, &generation));
    generated.stop = stops;
    NULL_("stop[0]", ortshard_generation_create(&request, 1, NULL, &generated, &generation));
    NULL_("model", ortshard_generation_open(NULL, NULL, &generation));
    NULL_("generation", ortshard_generation_open("x", NULL, NULL));
    OK(ortshard_generation_create(&request, 1, NULL, NULL, &generation));
    NULL_("generation", ortshard_generation_append_text(NULL, "x", 0));
    NULL_("text", ortshard_generation_append_text(generation, NULL, 0));
    NULL_("generation", ortshard_generation_append_ids(NULL, ids, 1));
    NULL_("ids", ortshard_generation_append_ids(generation, NULL, 1));
    NULL_("generation", ortshard_generation_prefill(NULL, 1, &needed));
    NULL_("left", ortshard_generation_prefill(generation, 1, NULL));
    NULL_("generation", ortshard_generation_step(NULL, &step));
    NULL_("step", ortshard_generation_step(generation, NULL));
    NULL_("generations", ortshard_generation_step_batch(NULL, 1, &step, NULL));
    NULL_("generations[0]", ortshard_generation_step_batch(&(ortshard_generation *){NULL}, 1, &step, NULL));
    NULL_("steps", ortshard_generation_step_batch(&generation, 1, NULL, NULL));
    NULL_("generation", ortshard_generation_run(NULL, NULL, NULL, NULL));
    NULL_("callback", ortshard_generation_run(generation, NULL, NULL, NULL));
    NULL_("generation", ortshard_generation_logits(NULL, &logit, 1, &needed));
    NULL_("logits", ortshard_generation_logits(generation, NULL, 1, &needed));
    NULL_("needed", ortshard_generation_logits(generation, &logit, 1, NULL));
    NULL_("generation", ortshard_generation_cancel(NULL));
    ortshard_generation_free(generation);
    CHECK(number == 0);
    ortshard_request_free(request);
    ortshard_shard_free(shard);
    return 0;
}
