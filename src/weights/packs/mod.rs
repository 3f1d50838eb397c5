//! Packed shards: quantised weights as one safetensors file (a pack), written once and mapped from then on.
//!
//! The layout inside each tensor is that of `kernels::packed`, so the file needs nothing but mapping. Where no file
//! can be kept, each load makes the same bytes in memory.

mod pack;
mod quantise;
mod seal;
mod store;

use std::fmt::Write;
use std::sync::Arc;

use super::checkpoint::OnEvent;
use super::mapping::{Mapping, Scratch};
use super::{MappedTensor, WeightTable};
use crate::error::{ErrorKind, Result};
use crate::graph::Weight;
use crate::kernels::Packing;
use pack::Pack;
use quantise::Target;
pub(crate) use store::{DEFAULT_LIMIT, Store};

/// The shard's weights `wanted` of `table`, with matrices packed as `packing` says. They come from `store` if it has
/// them; else `threads` threads quantise them and `store` keeps the result.
///
/// `name` begins the name of the file, for people who look into the folder.
pub(crate) fn packed(
    table: &WeightTable,
    wanted: &[&Weight],
    packing: Packing,
    name: &str,
    store: Option<&Store>,
    threads: usize,
    on: &mut OnEvent<'_>,
) -> Result<WeightTable> {
    let pack = Pack::new(table, wanted, packing)?;
    if let Some(store) = store {
        match store.take(&pack, name, threads, on) {
            Ok(mapping) => return Ok(pack.table(&Arc::new(mapping))),
            // A pack cache that cannot be used costs time; the shard is still loaded.
            Err(error) if error.kind() == ErrorKind::Io => {
                log::warn!("the packed shard is kept in memory only: {}", error.chain());
            }
            Err(error) => return Err(error),
        }
    }
    let scratch = Scratch::new(pack.len())?;
    scratch.write(pack.header(), 0);
    quantise::write(&pack, threads, &Target::Memory(&scratch), on)?;
    Ok(pack.table(&Arc::new(scratch.freeze()?)))
}

/// Bytes that the packed weights `wanted` take, told from their shapes alone. `stored` gives the bytes of a weight
/// that is not packed.
pub(crate) fn packed_bytes(wanted: &[&Weight], packing: Packing, stored: impl Fn(&Weight) -> u64) -> u64 {
    wanted
        .iter()
        .map(|weight| match *weight.shape {
            [rows, cols] if weight.is_quantisable() => packing.bytes(rows, cols).map_or(u64::MAX, |bytes| bytes as u64),
            _ => stored(weight),
        })
        .fold(0, u64::saturating_add)
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Pack<'_> {
    /// The tensors in a mapping of its file.
    fn table(&self, mapping: &Arc<Mapping>) -> WeightTable {
        let tensors = self.tensors().iter().map(|tensor| {
            let stored = MappedTensor {
                mapping: Arc::clone(mapping),
                bytes: self.place(tensor),
                layout: tensor.layout,
                rows: tensor.source.rows,
                cols: tensor.source.cols,
            };
            (tensor.name.to_owned(), stored)
        });
        WeightTable { tensors: tensors.collect() }
    }
}
