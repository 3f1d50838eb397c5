//! Why no plan fits, and what would.

use super::options::PlanOptions;
use super::row::{Row, needed};
use crate::error::{Error, ErrorKind, OutOfMemory, Result, Site, err};
use crate::plan::{self, Device, Table};

/// The error of a plan that does not fit.
pub(super) fn refusal(
    row: &mut Row,
    table: &Table,
    devices: &[Device],
    model: &str,
    options: &PlanOptions,
) -> Result<Error> {
    let units = table.units();
    let required: Vec<usize> = (0..devices.len()).filter(|index| devices[*index].required).collect();
    if required.len() > units {
        let count = required.len();
        return Ok(err!(
            InvalidArgument,
            "devices: {count} of them are required, and `{model}` can be cut into no more than {units} pieces"
        ));
    }
    let (first, last) = row.layers(0, units);
    let whole = row.estimate(0, units)?;
    let room = devices.iter().map(|device| device.room).fold(0, u64::saturating_add);
    let facts = format!(
        "layers {first} to {last} of `{model}` as one shard need {} bytes (weights {}, KV caches of {} x {} tokens {}, a run {}), \
         the devices have room for {room} ({}free_memory less a margin of {})",
        needed(&whole),
        whole.weight_bytes,
        row.requests,
        row.context,
        whole.kv_bytes,
        whole.run_bytes,
        if devices.len() == 1 { "" } else { "all together, " },
        options.margin,
    );
    let largest = (0..devices.len()).max_by_key(|index| (devices[*index].room, usize::MAX - index)).unwrap_or(0);
    let need_alone = |unit: usize| table.need(unit, unit + 1);
    let too_large =
        (0..units).filter(|unit| need_alone(*unit) > devices[largest].room).max_by_key(|unit| need_alone(*unit));
    let held = plan::longest(table, devices, options.keep_order);
    let (why, missing) = if let Some(unit) = too_large {
        let (what, need, room) = (named(row, unit, unit + 1), need_alone(unit), devices[largest].room);
        (format!("{what} alone: {need} bytes, and the largest room is {room}, that of devices[{largest}]"), need - room)
    } else if held == units {
        let need = (0..units).map(need_alone).min().unwrap_or(0);
        let list: Vec<String> = required.iter().map(|index| format!("devices[{index}]")).collect();
        let list = list.join(", ");
        (
            format!(
                "without one of those that are required ({list}) it fits; what holds something needs {need} bytes or more"
            ),
            need,
        )
    } else {
        let rest = table.need(held, units);
        let (held, left) = (named(row, 0, held), named(row, held, units));
        (format!("no more than {held} fit; one more device with room for {rest} bytes could hold {left}"), rest)
    };
    let oom = OutOfMemory { site: Site::Load, device: format!("devices[{largest}]"), requested: missing };
    let short = needed(&whole).saturating_sub(room);
    let short = if short == 0 { String::new() } else { format!(", {short} too few") };
    Ok(Error::new(ErrorKind::OutOfMemory, format!("no plan fits: {facts}{short}; {why}")).with_oom(oom))
}

/// Units `from..to` by their layers, and what is at their ends.
fn named(row: &Row, from: usize, to: usize) -> String {
    let ((first, last), (embedding, head)) = (row.layers(from, to), row.has_ends(from, to));
    let layers = if first == last { format!("layer {first}") } else { format!("layers {first} to {last}") };
    let with = match (embedding, head) {
        (true, true) => " with the embedding and the output head",
        (true, false) => " with the embedding",
        (false, true) => " with the output head",
        (false, false) => "",
    };
    layers + with
}
