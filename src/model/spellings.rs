//! What checkpoints call the tensors of layers of experts, in the spelling that a family published and in the one transformers 5 saves.

/// How the name of a tensor ends that holds the first projections of all experts of a layer, in checkpoints that are in the spelling
/// [`Spellings::held`]: of experts with a gate, and of those without.
pub(crate) const STACKED_EXPERTS: [&str; 2] = [".experts.gate_up_proj", ".experts.up_proj"];

/// The two spellings that checkpoints of a family have. [`stacked_experts`](super::ModelConfig::stacked_experts) says which one counts.
#[derive(Debug)]
pub(super) struct Spellings {
    /// As published.
    pub published: Names,
    /// As transformers 5 holds the layer in memory, and saves it with `save_original_format=False`.
    pub held: Names,
}

/// What a checkpoint calls the tensors of a layer of experts, behind the layer's name.
#[derive(Debug)]
pub(super) struct Names {
    /// The router's matrix.
    pub router: &'static str,
    /// What is added to the scores when experts are chosen, if anything is.
    pub bias: Option<Bias>,
    /// What multiplies the weight of each expert, if anything does.
    pub scales: Option<&'static str>,
    pub experts: Stored,
}

/// A value for each expert.
#[derive(Debug)]
pub(super) enum Bias {
    /// `[experts]`.
    Vector(&'static str),
    /// `[1, experts]`.
    Row(&'static str),
}

/// How a layer's experts are stored.
#[derive(Debug)]
pub(super) enum Stored {
    /// Each projection of each expert as `{module}.{number}.{part}.weight`: gate, up and down.
    Single {
        module: &'static str,
        parts: [&'static str; 3],
    },
    /// All experts in two tensors: each one's gate in front of its up, and down.
    Stacked {
        gate_up: &'static str,
        down: &'static str,
    },
    /// The same, with each matrix stored column after column.
    Columns {
        gate_up: &'static str,
        down: &'static str,
    },
    /// The same two ways of experts without a gate.
    SinglePlain {
        module: &'static str,
        parts: [&'static str; 2],
    },
    StackedPlain {
        up: &'static str,
        down: &'static str,
    },
}

/// How most families publish the experts of a layer.
const SINGLE: Stored = Stored::Single { module: "mlp.experts", parts: ["gate_proj", "up_proj", "down_proj"] };
/// How Mixtral's are published, and those of families that took them over.
const MIXTRAL_SINGLE: Stored = Stored::Single { module: "block_sparse_moe.experts", parts: ["w1", "w3", "w2"] };
/// How transformers 5 holds both.
const STACKED: Stored = Stored::Stacked { gate_up: "mlp.experts.gate_up_proj", down: "mlp.experts.down_proj" };

const fn names(router: &'static str, bias: Option<Bias>, experts: Stored) -> Names {
    Names { router, bias, scales: None, experts }
}

pub(super) const QWEN: Spellings =
    Spellings { published: names("mlp.gate.weight", None, SINGLE), held: names("mlp.gate.weight", None, STACKED) };

pub(super) const DEEPSEEK: Spellings = Spellings {
    published: names("mlp.gate.weight", Some(Bias::Vector("mlp.gate.e_score_correction_bias")), SINGLE),
    held: names("mlp.gate.weight", Some(Bias::Vector("mlp.gate.e_score_correction_bias")), STACKED),
};

pub(super) const ERNIE: Spellings = Spellings {
    published: names("mlp.gate.weight", Some(Bias::Row("mlp.moe_statics.e_score_correction_bias")), SINGLE),
    held: names("mlp.gate.weight", Some(Bias::Row("mlp.gate.moe_statics.e_score_correction_bias")), STACKED),
};

pub(super) const PHI: Spellings = Spellings {
    published: names("block_sparse_moe.gate.weight", None, MIXTRAL_SINGLE),
    held: names("mlp.router.weight", None, STACKED),
};

/// Published stacked, too, under names of its own.
pub(super) const GRANITE: Spellings = Spellings {
    published: names(
        "block_sparse_moe.router.layer.weight",
        None,
        Stored::Stacked {
            gate_up: "block_sparse_moe.input_linear.weight",
            down: "block_sparse_moe.output_linear.weight",
        },
    ),
    held: names(
        "block_sparse_moe.router.weight",
        None,
        Stored::Stacked {
            gate_up: "block_sparse_moe.experts.gate_up_proj",
            down: "block_sparse_moe.experts.down_proj",
        },
    ),
};

/// Published as transformers holds them.
const LLAMA4_NAMES: Names = names(
    "feed_forward.router.weight",
    None,
    Stored::Columns { gate_up: "feed_forward.experts.gate_up_proj", down: "feed_forward.experts.down_proj" },
);
pub(super) const LLAMA4: Spellings = Spellings { published: LLAMA4_NAMES, held: LLAMA4_NAMES };

const GEMMA4_NAMES: Names = Names {
    router: "router.proj.weight",
    bias: None,
    scales: Some("router.per_expert_scale"),
    experts: Stored::Stacked { gate_up: "experts.gate_up_proj", down: "experts.down_proj" },
};
pub(super) const GEMMA4: Spellings = Spellings { published: GEMMA4_NAMES, held: GEMMA4_NAMES };

pub(super) const MINIMAX: Spellings = Spellings {
    published: names(
        "block_sparse_moe.gate.weight",
        Some(Bias::Vector("block_sparse_moe.e_score_correction_bias")),
        MIXTRAL_SINGLE,
    ),
    held: names("mlp.gate.weight", Some(Bias::Vector("mlp.e_score_correction_bias")), STACKED),
};

const LFM2_SINGLE: Stored = Stored::Single { module: "feed_forward.experts", parts: ["w1", "w3", "w2"] };
const LFM2_STACKED: Stored =
    Stored::Stacked { gate_up: "feed_forward.experts.gate_up_proj", down: "feed_forward.experts.down_proj" };
const LFM2_BIAS: Bias = Bias::Vector("feed_forward.expert_bias");

pub(super) const LFM2: Spellings = Spellings {
    published: names("feed_forward.gate.weight", Some(LFM2_BIAS), LFM2_SINGLE),
    held: names("feed_forward.gate.weight", Some(LFM2_BIAS), LFM2_STACKED),
};

/// The same without that.
pub(super) const LFM2_UNBIASED: Spellings = Spellings {
    published: names("feed_forward.gate.weight", None, LFM2_SINGLE),
    held: names("feed_forward.gate.weight", None, LFM2_STACKED),
};

const NEMOTRON_BIAS: Bias = Bias::Vector("mixer.gate.e_score_correction_bias");

pub(super) const NEMOTRON: Spellings = Spellings {
    published: names(
        "mixer.gate.weight",
        Some(NEMOTRON_BIAS),
        Stored::SinglePlain { module: "mixer.experts", parts: ["up_proj", "down_proj"] },
    ),
    held: names(
        "mixer.gate.weight",
        Some(NEMOTRON_BIAS),
        Stored::StackedPlain { up: "mixer.experts.up_proj", down: "mixer.experts.down_proj" },
    ),
};

pub(super) const MIXTRAL: Spellings = Spellings {
    published: names("block_sparse_moe.gate.weight", None, MIXTRAL_SINGLE),
    held: names("mlp.gate.weight", None, STACKED),
};
