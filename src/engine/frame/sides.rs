//! What the shards on the two sides of a boundary can both say of the model, so that a frame of another one is refused.
//!
//! They hold different layers, so none of these names a range:
//!
//! - the numbers of config.json that decide results, encoded as in [`identity`],
//! - the precision of the weights; not the device, on which a model may change from shard to shard,
//! - the weights of the layer in front of the boundary and of the one behind it, as the checkpoint stores them. Each side knows its own
//!   layer's, and the other's too if the file that has it is here, as it is in a whole folder, or where one file holds both. What only one
//!   side knows is not compared.
//!
//! A layer's digest is the first half of the SHA-256 of an encoding like that of the fingerprint: each tensor's name, shape, layout, and
//! first and last 4,096 bytes.

use sha2::{Digest as _, Sha256};

use crate::engine::identity;
use crate::engine::load::{Checkpoint, Packer};
use crate::graph::Weight;
use crate::model::{self, ModelConfig};

/// Half of a SHA-256.
pub(crate) type Digest = [u8; 16];

/// What one side of a boundary says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sides {
    /// The numbers of config.json.
    pub numbers: Digest,
    /// The weights of the layer in front of the boundary.
    pub layer: Option<Digest>,
    /// The weights of the layer behind it.
    pub next: Option<Digest>,
    /// How matrices are packed, by the numbers of the C interface.
    pub precision: u32,
}

impl Sides {
    /// What a shard of the model with `config` and the weights of `source` says of the boundary behind `layer`.
    pub(crate) fn of(config: &ModelConfig, source: &Checkpoint, packer: &Packer, layer: usize) -> Self {
        Self {
            numbers: numbers_of(config),
            layer: layer_digest(config, source, layer),
            next: layer_digest(config, source, layer + 1),
            precision: packer.precision_code(),
        }
    }
}

/// The digest of the model's numbers.
pub(crate) fn numbers_of(config: &ModelConfig) -> Digest {
    half(Sha256::new_with_prefix(&identity::numbers("ortshard frame", config, false).0))
}

/// The digest of the weights of `layer`, if the files that hold them are here.
fn layer_digest(config: &ModelConfig, source: &Checkpoint, layer: usize) -> Option<Digest> {
    let graph = model::graph(config, model::cut_around(config, layer));
    let module = format!("{}.{layer}.", config.names.layers);
    let weights = graph.weights();
    let own: Vec<&Weight> = weights.into_iter().filter(|weight| weight.tensor().starts_with(&module)).collect();
    let stored = source.load_here(&own).inspect_err(|error| {
        log::warn!("frames are not compared by the weights of layer {layer}: {}", error.chain());
    });
    let mut hash = Sha256::new();
    identity::weights(&mut hash, &own, &stored.ok()??);
    Some(half(hash))
}

/// `bytes` as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

fn half(hash: Sha256) -> Digest {
    let mut half = Digest::default();
    half.copy_from_slice(&hash.finalize()[..size_of::<Digest>()]);
    half
}
