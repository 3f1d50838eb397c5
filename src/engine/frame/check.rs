//! Whether a frame is the next one that a request takes. The errors say what differs, so that a sender knows what to send instead.

use super::header::Header;
use super::sides::Sides;
use crate::error::{Result, bail};
use crate::graph::{PerPart, Role};

/// What a request can take next.
#[derive(Debug)]
pub(crate) struct Expected {
    pub sides: Sides,
    /// The layer in front of the shard's first.
    pub layer: u32,
    /// The role and width of each part.
    pub parts: PerPart<(Role, usize)>,
    pub position: usize,
    /// Whether the request takes the text for a long one.
    pub is_long: bool,
}

/// Refuses a frame that is another one than `expected`.
pub(crate) fn check(header: &Header, expected: &Expected) -> Result<()> {
    let Header { sides, layer, position, tokens, is_long, parts } = header;
    let own = &expected.sides;
    if sides.numbers != own.numbers {
        bail!(
            InvalidArgument,
            "frame: it comes from another model, whose config.json has other numbers than that of the request's shard"
        );
    }
    if *layer != expected.layer {
        bail!(
            InvalidArgument,
            "frame: it comes from a shard that ends at layer {layer}, and the request's shard begins at layer {}, behind layer {}",
            expected.layer + 1,
            expected.layer
        );
    }
    if sides.precision != own.precision {
        bail!(
            InvalidArgument,
            "frame: it comes from a shard with {} weights, the request's shard has {} ones",
            precision(sides.precision),
            precision(own.precision)
        );
    }
    for (theirs, ours, layer) in [(sides.layer, own.layer, *layer), (sides.next, own.next, *layer + 1)] {
        if let (Some(theirs), Some(ours)) = (theirs, ours)
            && theirs != ours
        {
            bail!(
                InvalidArgument,
                "frame: it comes from a checkpoint with other weights in layer {layer} than that of the request's shard, such as a \
                 fine-tune of the same model"
            );
        }
    }
    let own: Vec<(Role, usize)> = expected.parts.to_vec();
    let theirs: Vec<(Role, usize)> = parts.iter().map(|part| (part.role, part.width as usize)).collect();
    if own != theirs {
        let [own, theirs] = [own, theirs].map(|parts| {
            let each = parts.iter().map(|(role, width)| format!("{} of width {width}", role.name()));
            each.collect::<Vec<_>>().join(" and ")
        });
        bail!(InvalidArgument, "frame: it has {theirs}, the request's shard takes {own}");
    }
    let (begin, end, own) = (*position, position + tokens, expected.position as u64);
    if begin != own {
        let why = match (begin < own, end <= own) {
            (true, true) => "it has been run already, or the request was to be truncated first",
            (true, false) => "some of its tokens have been run already",
            (false, _) => "those between have not come yet, or were lost",
        };
        bail!(InvalidState, "frame: it has tokens {begin} to {}, and the request's next one is {own}: {why}", end - 1);
    }
    if *is_long != expected.is_long {
        let [theirs, ours] = [*is_long, expected.is_long].map(|long| if long { "a long" } else { "a short" });
        bail!(
            InvalidArgument,
            "frame: its positions are rotated as in {theirs} text, and the request would rotate them as in {ours} one: all requests \
             of a text need the same option long_context, and tokens that were run alike"
        );
    }
    Ok(())
}

/// What weights of the precision `code` are called.
fn precision(code: u32) -> &'static str {
    ["exact", "int8", "int4", "int4 fine"].get((code as usize).wrapping_sub(1)).copied().unwrap_or("other")
}
