//! Frames in and out of requests.

use super::Request;
use crate::engine::frame::{self, Expected, Frame, FrameOptions, FramePieces, Header, PartHeader};
use crate::engine::io::{Input, Logits};
use crate::error::{Result, bail, err};
use crate::graph::{PerPart, Role};
use crate::runtime::{PartRows, Rows};

impl Request {
    /// Runs `input` through the shard's layers as [`infer`](Self::infer) does, and gives what comes out as a frame for the next shard. It
    /// is the way for boundaries of several parts, too.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the shard gives logits; [`OutOfRange`](crate::ErrorKind::OutOfRange) for a
    /// number that is beyond the largest of its type, where `options` say that this is an error.
    pub fn infer_frame(&mut self, input: Input, options: FrameOptions) -> Result<FramePieces> {
        self.must_give_frames()?;
        let before = self.position;
        self.run(input, Logits::Last)?;
        let frame = self.frame(options);
        if frame.is_err() {
            self.take_back(before)?;
        }
        frame
    }

    /// What the last call gave, as a frame for the next shard. Parts that are not rounded are not copied: they lie where the call has left
    /// them, which the request uses again when the frame is gone.
    ///
    /// # Errors
    /// [`InvalidState`](crate::ErrorKind::InvalidState) if there is no [`output`](Self::output); others as for
    /// [`infer_frame`](Self::infer_frame).
    pub fn frame(&self, options: FrameOptions) -> Result<FramePieces> {
        self.must_give_frames()?;
        let Some(results) = &self.results else {
            bail!(InvalidState, "the request has given no hidden states since its last run began: run it first")
        };
        let layer = self.shard.info().last_layer;
        let header = Header {
            sides: *self.shard.sides_behind()?,
            layer,
            position: self.given_at.0 as u64,
            tokens: results.rows as u64,
            is_long: self.given_at.1,
            parts: self.frame_parts(options),
        };
        FramePieces::new(&header, results, options.beyond)
    }

    /// Bytes of the frame that `tokens` tokens give; `None` if the shard gives logits.
    pub fn frame_size(&self, tokens: usize, options: FrameOptions) -> Option<usize> {
        let parts = self.frame_parts(options);
        if parts.is_empty() { None } else { frame::size_of(parts, tokens) }
    }

    fn frame_parts(&self, options: FrameOptions) -> PerPart<PartHeader> {
        let part = |(role, width): &(Role, usize)| PartHeader {
            role: *role,
            dtype: options.dtype(*role),
            width: *width as u32,
        };
        self.shard.output_parts().iter().map(part).collect()
    }

    fn must_give_frames(&self) -> Result<()> {
        if self.shard.info().is_last {
            bail!(InvalidArgument, "the shard ends at the last layer and gives logits, which are no frame");
        }
        Ok(())
    }

    /// Refuses a call whose result, hidden states alone, would leave something out.
    pub(crate) fn must_give_one_part(&self) -> Result<()> {
        let parts = self.shard.output_parts();
        if parts.len() > 1 {
            let (end, parts) = (self.shard.info().last_layer, names(&parts));
            bail!(
                InvalidArgument,
                "output: {parts} pass the boundary behind layer {end}: have the request give frames"
            );
        }
        Ok(())
    }

    /// What the shard takes of `input`. A frame must be the request's next one.
    pub(super) fn rows_of<'i>(&self, input: Input<'i>) -> Result<Rows<'i>> {
        match input {
            Input::Frame(frame) => self.rows_of_frame(frame),
            other => other.rows(),
        }
    }

    fn rows_of_frame<'i>(&self, frame: &'i Frame) -> Result<Rows<'i>> {
        let Some(sides) = self.shard.sides_before()? else {
            bail!(InvalidArgument, "input: a frame given, but the shard starts at layer 0 and takes token ids")
        };
        let layer = self.shard.info().first_layer - 1;
        let (parts, position) = (self.shard.input_parts(), self.position);
        // Whether the text is long depends on the tokens, of which there may be too many.
        let fits = frame.tokens() <= self.capacity - position;
        let is_long = if fits { self.is_long_with(frame.tokens())? } else { frame.is_long() };
        frame::check(frame.header(), &Expected { sides: *sides, layer, parts, position, is_long })?;
        let part = |part: &'i frame::FramePart| PartRows { role: part.role, values: part.values(), width: part.width };
        Ok(Rows::Parts(frame.parts().iter().map(part).collect()))
    }

    /// Finds out whether `parts` are what the shard takes.
    pub(super) fn check_parts(&self, parts: &[PartRows]) -> Result<()> {
        let (info, own) = (self.shard.info(), self.shard.input_parts());
        if info.is_first {
            bail!(InvalidArgument, "input: hidden states given, but the shard starts at layer 0 and takes token ids");
        }
        if own.len() > parts.len() {
            let names = names(&own);
            bail!(
                InvalidArgument,
                "input: hidden states alone, but {names} pass the boundary in front of layer {}: give a frame",
                info.first_layer
            );
        }
        if let [part, ..] = parts
            && part.width != info.hidden_size as usize
        {
            bail!(
                InvalidArgument,
                "input: hidden states of width {}, the model's hidden_size is {}",
                part.width,
                info.hidden_size
            );
        }
        let given: PerPart<_> = parts.iter().map(|part| (part.role, part.width)).collect();
        if given != own {
            return Err(err!(Internal, "{given:?} where {own:?} belong"));
        }
        Ok(())
    }

    /// Undoes the last call, which began at `position` and whose result could not be used.
    pub(crate) fn take_back(&mut self, position: usize) -> Result<()> {
        self.results = None;
        self.truncate(position)
    }
}

/// The parts by name.
fn names(parts: &[(Role, usize)]) -> String {
    parts.iter().map(|(role, _)| role.name()).collect::<Vec<_>>().join(" and ")
}
