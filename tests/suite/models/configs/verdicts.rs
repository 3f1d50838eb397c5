//! The cases in which this library does something else than transformers on purpose, each with the reason.
//!
//! `family: case`, the family where it is one alone.

/// Cases that transformers computes, and this library refuses by name.
pub(super) const REFUSED: &[&str] = &[
    // Transformers sends each token to two experts, whatever is written; and a share without bounds.
    "phimoe: num_experts_per_tok 1",
    "phimoe: num_experts_per_tok 3",
    "phimoe: num_experts_per_tok 4",
    "phimoe: num_experts_per_tok 5",
    "phimoe: num_experts_per_tok -1",
    "phimoe: router_jitter_noise 1e+300",
    // Transformers 4 rotates all layers of OLMo 3 by these, and 5 those without a window, or none.
    "olmo3: rope_theta 500.0",
    "olmo3: rope_theta 500",
    "olmo3: rope_theta None",
    "olmo3: rope_theta '500'",
    "olmo3: rope_theta 0",
    "olmo3: rope_scaling {'type': 'linear', 'factor': 2.0}",
    "olmo3: original_max_position_embeddings 16 with {'rope_scaling': {'type': 'yarn', 'factor': 4.0}}",
    "olmo3: rope_scaling {'type': 'linear', 'factor': 8.0} with {'sliding_window': 5, 'layer_types': ['full_attention', 'sliding_attention', 'full_attention']}",
    // No kernel has these.
    "hidden_act 'gelu'",
    "hidden_act 'relu'",
    "hidden_act 'gelu_pytorch_tanh'",
    "hidden_act 'quick_gelu'",
    "hidden_activation 'quick_gelu'",
    "hidden_activation 'tanh'",
    // Not read where layer_types decides, but the key means attention that no layer here has.
    "attention_chunk_size 4",
    // Eager attention looks back alone, and other implementations on to what follows.
    "gemma2: use_bidirectional_attention True",
    // Transformers 4 scales by these, and 5 does not.
    "gemma3_text: rope_scaling {'type': 'linear', 'factor': 2.0}",
    "gemma3_text: original_max_position_embeddings 16 with {'rope_scaling': {'type': 'yarn', 'factor': 4.0}}",
    // They change nothing in some families, where others are not what they were.
    "gemma2: attribute_map {'hidden_act': 'other_act'}",
    "gemma3_text: attribute_map {'hidden_act': 'other_act'}",
    "attribute_map {'rms_norm_eps': 'pad_token_id'}",
    "per_layer_config {'1': {'rms_norm_eps': 0.1}}",
    "per_layer_config {'1': {'intermediate_size': 16}}",
    // Transformers 4 takes it for all layers, 5 for those without a window.
    "olmo3: rope_theta 500.0 with {'sliding_window': 5, 'layer_types': ['full_attention', 'sliding_attention', 'full_attention']}",
    // Factors that leave nothing, or turn it round.
    "embedding_multiplier 0",
    "embedding_multiplier -1.0",
    "attention_multiplier 0",
    "attention_multiplier -1.0",
    "residual_multiplier 0",
    "residual_multiplier -1.0",
    "logits_scaling 0",
    "logits_scaling -1.0",
    "logits_scaling 1e+300",
    "logit_scale 0.0",
    "logit_scale -1.0",
    // Does not matter beside a language model's own config, but means attention that no layer here has.
    "gemma3: is_causal False",
    "internvl: is_causal False",
    "llava: is_causal False",
    "quantization_config {}",
    // Published models say how they rotate.
    "ministral3: rope_parameters None",
    "ministral3: no rope_parameters",
    // All layers slide all the same.
    "ministral3: layer_types ['full_attention', 'full_attention', 'full_attention'] with {'sliding_window': 5}",
    // It makes another number of what is under another key.
    // Queries that grow beyond all measure, and true for 1.
    "growth 1e+30",
    "growth True",
    // A language model's config within another one.
    "text_config: within",
    // A cap of nothing or below it, and the root of a number that has none or is no float32.
    "attn_logit_softcapping 0.0",
    "attn_logit_softcapping -1.0",
    "final_logit_softcapping 0.0",
    "final_logit_softcapping -1.0",
    "query_pre_attn_scalar 1000000000000000000000000000000",
    "query_pre_attn_scalar -4",
    // The same for what a gate is held below; and a method that nobody has.
    "swiglu_limit 0.0",
    "swiglu_limit -1.0",
    "gpt_oss: quantization_config {'quant_method': 4}",
    // Two numbers of experts, of which the last one written counts; none for a token, where there are some.
    "qwen3_moe: num_local_experts 0",
    "ernie4_5_moe: num_experts_per_tok 1",
    "num_experts_per_tok 0",
    "moe_k 0",
    "no moe_k with {'num_experts_per_tok': 0}",
    "topk_group 0 with {'num_experts_per_tok': 2}",
    // More experts of a token than its groups hold: transformers takes some that are out.
    "dots1: num_experts_per_tok 5",
    "glm4_moe: num_experts_per_tok 5",
    "num_experts_per_tok 8",
    "glm4_moe: no num_experts_per_tok",
    "no topk_group",
    // No kernel clips these.
    "olmoe: clip_qkv 0.1",
    "clip_qkv 1000000000.0",
    "clip_qkv 0.0",
    // Numbers that Python takes for others: 0 for none, true for 1, -1 for none; and a layer before the first.
    "num_experts -1",
    "sliding_window_pattern -2 with {'sliding_window': 5}",
    "decoder_sparse_step -1",
    "decoder_sparse_step -2",
    "first_k_dense_replace -1",
    "moe_num_shared_experts -1",
    "moe_layer_start_index -1",
    "moe_layer_end_index -2",
    "moe_layer_interval -1",
    "moe_layer_interval -2",
    "mlp_only_layers [-1]",
    "mistral: head_dim 0",
    "mixtral: head_dim 0",
    "llama: sliding_window True",
    "glm: sliding_window True",
    "glm4: sliding_window True",
    "smollm3: no_rope_layers [2, 0, -1]",
    "smollm3: no_rope_layer_interval -1 with {'no_rope_layers': None}",
    "starcoder2: head_dim 0",
    "sliding_window True",
    "sliding_window_pattern -1",
    "sliding_window_pattern True",
    // Not read where layer_types decides.
    "sliding_window_pattern 0 with {'layer_types': ['full_attention', 'sliding_attention', 'full_attention']}",
    // The rotation reads it and the attention does not.
    "gpt_neox: head_dim 0",
    "gpt_neox: head_dim 4",
    "gpt_neox: num_key_value_heads None with {'num_attention_heads': 1, 'head_dim': 8, 'hidden_size': 16}",
    // A base of nothing turns the first pair of a head all the same, and there is no other.
    "rotary_emb_base 0",
    "max_window_layers -1 with {'sliding_window': 5, 'use_sliding_window': True}",
    // Numbers that Python takes for others, as above, and a key that is no longer read.
    "lfm2_moe: num_dense_layers -1",
    // They change nothing in these, where others are not what they were.
    "lfm2: attribute_map {'hidden_act': 'other_act'}",
    "lfm2_moe: attribute_map {'hidden_act': 'other_act'}",
];

/// Cases that transformers refuses, and this library runs, since they can mean one thing only.
pub(super) const CLEAR: &[&str] = &[
    "phimoe: lm_head_bias None",
    "phimoe: input_jitter_noise None",
    "phimoe: router_jitter_noise 1",
    // No layer slides, so none needs a window.
    "olmo3: sliding_window None with {'layer_types': ['full_attention', 'full_attention', 'full_attention']}",
    // Null means the whole of a head, as in the families that transformers takes it from.
    "gpt_neox: rotary_pct None",
    "nemotron: partial_rotary_factor None",
    "phi: partial_rotary_factor None",
    // Then architectures decides.
    "no model_type",
    "model_type None",
    // A whole number is one, however it is written.
    "vocab_size 40.0",
    "hidden_size 16.0",
    "intermediate_size 24.0",
    "num_hidden_layers 3.0",
    "num_attention_heads 2.0",
    "num_key_value_heads 1.0",
    "head_dim 8.0",
    "max_position_embeddings 64.0",
    "sliding_window 5.0",
    "max_window_layers 1.0 with {'sliding_window': 5, 'use_sliding_window': True}",
    "num_experts 4.0",
    "num_local_experts 4.0",
    "n_routed_experts 8.0",
    "n_shared_experts 2.0",
    "topk_group 2.0 with {'num_experts_per_tok': 2}",
    "first_k_dense_replace 1.0",
    "num_experts_per_tok 3.0",
    "moe_num_experts 4.0",
    "moe_k 2.0",
    "moe_num_shared_experts 2.0",
    "moe_layer_start_index 1.0",
    "moe_layer_end_index 1.0",
    "moe_layer_interval 2.0",
    "shared_expert_intermediate_size 12.0",
    "no num_experts with {'num_local_experts': 4.0}",
    "num_experts_per_tok 2.0",
    "moe_intermediate_size 8.0",
    "decoder_sparse_step 2.0",
    "mlp_only_layers [1.0]",
    "no_rope_layers [1.0, 0.0, 1.0]",
    "no_rope_layer_interval 2.0 with {'no_rope_layers': None}",
    "phi3: original_max_position_embeddings 6.0 with {'rope_scaling': {'type': 'longrope', 'short_factor': [1.0, 1.1, 1.2, 1.3], \
     'long_factor': [2.0, 3.0, 4.0, 5.0]}}",
    "sliding_window_pattern 2.0 with {'sliding_window': 5}",
    // And any number may have a fraction or none where it is no count.
    "rms_norm_eps 1",
    "routed_scaling_factor 2",
    "moe_norm_min 2",
    "swiglu_alpha 0",
    "swiglu_limit 1",
    "rms_norm_eps 0",
    "layer_norm_eps 1",
    "layer_norm_eps 0",
    "norm_eps 1",
    "norm_eps 0",
    "norm_epsilon 1",
    "norm_epsilon 0",
    "logit_scale 1",
    "attn_logit_softcapping 1",
    "final_logit_softcapping 1",
    "query_pre_attn_scalar 4.0",
    "query_pre_attn_scalar 2.5",
    // Heads are as wide as in all families.
    "ministral: no head_dim",
    "ministral: head_dim None",
    "ministral3: head_dim None",
    "exaone4: head_dim None",
    "granite: head_dim None",
    "hunyuan_v1_dense: no head_dim",
    "olmo2: head_dim None",
    "qwen2: head_dim None",
    "qwen3_moe: head_dim None",
    "phi3: head_dim None",
    "smollm3: head_dim None",
    "head_dim None",
    // With an odd number of values the last pair takes one more, as in the families whose code allows it.
    "phi: partial_rotary_factor 0.4",
    // The length of the first training, in the one place or the other.
    "original_max_position_embeddings 5 with no length in rope_parameters",
    // What is not said is not so.
    "tie_word_embeddings None",
    "attention_bias None",
    "attention_out_bias None",
    "mlp_bias None",
    "qkv_bias None",
    "use_bias None",
    "use_parallel_residual None",
    "qk_layernorm None",
    "use_sliding_window None with {'sliding_window': 5, 'max_window_layers': 1}",
    "use_sliding_window None with {'sliding_window': 5}",
    "norm_topk_prob None",
    "use_qk_norm None",
    // Tensors that have no place are not read.
    "n_shared_experts 0",
    "phi3: partial_rotary_factor None",
    // The older name of longrope, which version 5.24 renames too late.
    "phi3: rope_scaling {'type': 'su', 'short_factor': [1.0, 1.1, 1.2, 1.3], 'long_factor': [2.0, 3.0, 4.0, 5.0]} with \
     {'original_max_position_embeddings': 6}",
    "phi3: rope_scaling {'rope_type': 'su', 'short_factor': [1.0, 1.1, 1.2, 1.3], 'long_factor': [2.0, 3.0, 4.0, 5.0]} with \
     {'original_max_position_embeddings': 6}",
    // It caps nothing in this family.
    "gemma3_text: attn_logit_softcapping 0",
    "gemma3_text: attn_logit_softcapping '1.0'",
    "gemma3_text: attn_logit_softcapping True",
    // The letters of a pattern, where all readers agree on the last layer; and no window needs none.
    "sliding_window_pattern 'LLG' with {'sliding_window': 5}",
    "sliding_window_pattern 'LLGL' with {'sliding_window': 5}",
    "sliding_window_pattern 'G' with {'sliding_window': 5}",
    "exaone4: sliding_window None",
    "sliding_window_pattern 2 with {'sliding_window': None}",
    // No layer slides, so none needs a window.
    "sliding_window None with {'sliding_window_pattern': 1}",
    "mistral: layer_types None",
    "mistral: layer_types ['full_attention', 'full_attention', 'full_attention']",
    "mistral: layer_types ['attention', 'attention', 'attention']",
    "cohere2: layer_types ['full_attention', 'full_attention', 'full_attention'] with {'sliding_window': None}",
    // How Python code hands over what it computed.
    "return_dict False",
    "sub_configs {}",
    // In training alone.
    "router_jitter_noise None",
    // No other names than those of the keys; and how attention is computed, where the answer is the same.
    "attribute_map {}",
    "gemma3: attribute_map {'hidden_act': 'other_act'}",
    "gemma3: attribute_map {'rms_norm_eps': 'pad_token_id'}",
    // Beside a language model's own config no shape and no rotation is read.
    "per_layer_config {}",
    "original_max_position_embeddings 16 with {'rope_scaling': {'type': 'yarn', 'factor': 4.0}}",
    "gemma2: _attn_implementation 'sdpa'",
    "gpt_oss: _attn_implementation 'sdpa'",
    // Without a layer that attends, the cache of transformers does not know how long a text is.
    "layer_types ['conv', 'conv', 'conv']",
    "full_attn_idxs [] with {'layer_types': None}",
    // A whole number is one, however it is written; a number may have no fraction; and what is not said is not so, or as it is by default.
    "full_attn_idxs [1.0] with {'layer_types': None}",
    "conv_L_cache 3.0",
    "block_multiple_of 8.0 with {'block_auto_adjust_ff_dim': True, 'intermediate_size': 36}",
    "block_ff_dim 24.0",
    "num_dense_layers 1.0",
    "lfm2_moe: routed_scaling_factor 0",
    "conv_bias None",
    "tie_embedding None",
    "use_expert_bias None",
    "block_auto_adjust_ff_dim None with {'intermediate_size': 36, 'block_multiple_of': 8}",
    "block_ffn_dim_multiplier None with {'block_auto_adjust_ff_dim': True, 'intermediate_size': 36}",
];
