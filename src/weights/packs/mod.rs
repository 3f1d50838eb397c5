//! Packed shards: quantised weights as one safetensors file (a pack), written once and mapped from then on.
//!
//! A shard that stays exact needs none, but for weights whose values do not lie one after another in the checkpoint: these are
//! gathered in memory. Weights that the checkpoint has in four bits, and tables of which a text reads a few rows, stay where they are in
//! any case.
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
use crate::kernels::{Layout, Packing};
use pack::Pack;
use quantise::Target;
pub(crate) use store::{DEFAULT_LIMIT, Store};

/// The shard's weights `wanted` of `table` as kernels read them, with matrices packed as `packing` says, or exact without one. Packed
/// ones come from `store` if it has them; else `threads` threads quantise them and `store` keeps the result.
///
/// `name` begins the name of the file, for people who look into the folder.
pub(crate) fn packed(
    mut table: WeightTable,
    wanted: &[&Weight],
    packing: Option<Packing>,
    name: &str,
    store: Option<&Store>,
    threads: usize,
    on: &mut OnEvent<'_>,
) -> Result<WeightTable> {
    let (numbers, fours): (Vec<&Weight>, Vec<&Weight>) =
        wanted.iter().copied().partition(|weight| weight.is_made_of_numbers());
    let is_made = |weight: &&Weight| packing.is_some() && !weight.in_place || weight.is_gathered();
    let made: Vec<&Weight> = numbers.into_iter().filter(is_made).collect();
    if !made.is_empty() {
        let made = make(&table, &made, packing, name, store, threads, on)?;
        table.extend(made);
    }
    // Beside quantised weights they meet activations that are quantised, too.
    for weight in fours.iter().filter(|_| packing.is_some()) {
        if let Some(Layout::Mxfp4(mxfp4)) = table.tensors.get_mut(&weight.name).map(|tensor| &mut tensor.layout) {
            mxfp4.coded = true;
        }
    }
    Ok(table)
}

/// The weights that are not read as they lie in the checkpoint.
fn make(
    table: &WeightTable,
    wanted: &[&Weight],
    packing: Option<Packing>,
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
                rows: tensor.rows,
                cols: tensor.cols,
                strides: None,
            };
            (tensor.name.to_owned(), stored)
        });
        WeightTable { tensors: tensors.collect() }
    }
}
