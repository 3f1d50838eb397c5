//! A request's state outside the request: forked into another one, or as bytes for another process.
//!
//! The bytes: magic, version, the shard's fingerprint, the position, what every layer keeps ([`KvCache::read`]: rows as they lie in
//! the cache, little-endian values or `kernels::RowType`), and the SHA-256 of all that.
//!
//! [`KvCache::read`]: crate::kept::KvCache::read

use sha2::{Digest, Sha256};

use super::Request;
use crate::error::{Error, Result, Site, bail, err};

const MAGIC: &[u8; 8] = b"ORTSHKV\0";
const VERSION: u32 = 3;
const HASH: usize = 32;
/// Magic, version, fingerprint, position.
const HEADER: usize = 8 + 4 + HASH + 8;

impl Request {
    /// Another request with the same tokens behind it. Costs a copy of its KV rows, or of its input if it has no cache;
    /// both go their own way from here.
    pub fn fork(&self) -> Result<Self> {
        let mut fork = Self::with_capacity(self.shard(), self.capacity(), self.chunk(), self.history.is_some())?;
        match (&self.history, &mut fork.history) {
            (Some(from), Some(to)) => to.push(&from.input(0..self.position())?),
            _ => self.with_cache(|from| fork.with_cache(|to| to.copy(from, self.position())))?,
        }
        fork.set_position(self.position());
        Ok(fork)
    }

    /// Bytes that [`export_state`](Self::export_state) gives now; 0 if it does not.
    pub fn state_size(&self) -> usize {
        if self.history.is_some() {
            return 0;
        }
        let kept = self.with_cache(|cache| Ok(cache.state_bytes(self.position())));
        kept.map_or(0, |bytes| HEADER + bytes + HASH)
    }

    /// The request's state, to be continued by [`import_state`](Self::import_state) bit for bit: later, in another
    /// process, or on another copy of the shard.
    ///
    /// # Errors
    /// [`InvalidState`](crate::ErrorKind::InvalidState) for a request without a KV cache, here and in
    /// [`import_state`](Self::import_state): its state is its input, to be run again.
    pub fn export_state(&self) -> Result<Vec<u8>> {
        let size = self.state_size();
        let mut state = Vec::new();
        state.try_reserve_exact(size).map_err(|_| Error::oom(Site::Kv, "cpu", size as u64, "the exported state"))?;
        state.extend_from_slice(MAGIC);
        state.extend_from_slice(&VERSION.to_le_bytes());
        state.extend_from_slice(self.shard().fingerprint()?);
        state.extend_from_slice(&(self.position() as u64).to_le_bytes());
        self.with_cache(|cache| cache.read(self.position(), &mut state))?;
        let hash = Sha256::digest(&state);
        state.extend_from_slice(&hash);
        Ok(state)
    }

    /// Puts the request where the one that exported `state` was. Nothing changes if that is refused.
    ///
    /// # Errors
    /// [`Malformed`](crate::ErrorKind::Malformed) if the bytes are damaged;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a version this library does not know;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a state of another model, range, dtype or KV type;
    /// [`ContextFull`](crate::ErrorKind::ContextFull) if it holds more tokens than this request has room for.
    pub fn import_state(&mut self, state: &[u8]) -> Result<()> {
        let position = self.check_state(state)?;
        self.with_cache(|cache| cache.write(position, &state[HEADER..state.len() - HASH]))?;
        self.set_position(position);
        Ok(())
    }

    /// The position of `state`, if this request can take it.
    fn check_state(&self, state: &[u8]) -> Result<usize> {
        if state.len() < HEADER + HASH {
            bail!(Malformed, "state: {} bytes are too few", state.len());
        }
        let head = &state[..HEADER];
        if &head[..8] != MAGIC {
            bail!(Malformed, "state: this is no exported request state");
        }
        let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if version != VERSION {
            bail!(Unsupported, "state: version {version}, this library reads version {VERSION}");
        }
        let (content, hash) = state.split_at(state.len() - HASH);
        if Sha256::digest(content).as_slice() != hash {
            bail!(Malformed, "state: the bytes are damaged, their hash does not match");
        }
        if &head[12..12 + HASH] != self.shard().fingerprint()? {
            bail!(InvalidArgument, "state: it belongs to another model, layer range, dtype or kv_type");
        }
        let position = head[12 + HASH..].iter().rev().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        let position = usize::try_from(position).map_err(|_| err!(Malformed, "state: position {position}"))?;
        if position > self.capacity() {
            bail!(ContextFull, "state: it holds {position} tokens, the request's capacity is {}", self.capacity());
        }
        Ok(position)
    }
}
