//! From the payload of frames to the carried session's packets.

use super::{Carried, MessageKind, Session, Stage};
use crate::codec::ws::{CloseCode, CloseFrame};
use crate::limits;
use crate::route::Command;
use crate::session::{Disconnect, Output, Scratch, Step};
use crate::time::Now;

/// The beginning of a packet or an element that spans frames. Of a packet, it never holds more than the carried
/// session asked for.
#[derive(Debug, Default)]
pub(super) struct Spill {
    pub(super) bytes: Vec<u8>,
    /// Bytes from the packet's beginning without which the carried session can achieve nothing.
    need: usize,
    /// Bytes at the front of the receive buffer that are a header, read but not consumed: of the empty frame that
    /// ends an element which the carried session did not take. Were they consumed, nothing would be left to come again.
    pub(super) head: usize,
}

impl Spill {
    /// Bytes that are here or needed.
    pub(super) fn announced(&self) -> usize {
        self.bytes.len().max(self.need)
    }
}

#[cfg(test)]
impl Spill {
    /// Bytes held and bytes needed.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.bytes.len(), self.need)
    }
}

impl<S: Carried> Session<S> {
    /// Reads payload at the front of `bytes`, behind the `head` bytes of a header just read: unmasks what has
    /// come and hands it to the carried session, one packet at most.
    pub(super) fn payload<'a, O: Output>(
        &mut self,
        now: Now,
        bytes: &'a mut [u8],
        head: usize,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let ready = head + usize_of(self.ready);
        match self.decoder.payload(bytes.get_mut(ready..).unwrap_or_default()) {
            Ok(fresh) => self.ready += u32::try_from(fresh).unwrap_or(u32::MAX),
            Err(malformed) => return Err(self.malformed(malformed, out)),
        }
        let ready = head + usize_of(self.ready);
        let payload = bytes.get_mut(head..ready).unwrap_or_default();
        let Stage::Open(carried) = &self.stage else {
            return Ok(Step::Hold);
        };
        if carried.kind() == MessageKind::Elements {
            return self.element(now, payload, head, scratch, out);
        }
        if payload.is_empty() {
            return Ok(consumed_or(head, Step::Need(1)));
        }
        let lacking = carried.packet_len(payload).saturating_sub(payload.len());
        if self.spill.is_some() || lacking as u64 > self.decoder.payload_left() {
            self.across_frames(now, payload, head, scratch, out)
        } else {
            self.in_place(now, payload, head, scratch, out)
        }
    }

    /// The packet at the front lies whole in this frame, though perhaps not all of it has come.
    fn in_place<'a, O: Output>(
        &mut self,
        now: Now,
        payload: &'a mut [u8],
        head: usize,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let Stage::Open(carried) = &mut self.stage else {
            return Ok(Step::Hold);
        };
        match carried.receive(now, payload, scratch, out) {
            Ok(Step::Done { used, command }) => Ok(self.done(head, used, command, out)),
            Ok(waits) => Ok(consumed_or(head, waits)),
            Err(disconnect) => Err(self.fault(disconnect, out)),
        }
    }

    /// The packet at the front began in an earlier frame or ends in a later one: it is put together in the
    /// scratch once all is there that the carried session asked for, and until then kept in the spill.
    fn across_frames<'a, O: Output>(
        &mut self,
        now: Now,
        payload: &[u8],
        head: usize,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let Stage::Open(carried) = &mut self.stage else {
            return Ok(Step::Hold);
        };
        let kept = self.spill.as_ref().map_or(0, |spill| spill.bytes.len());
        let need = self.spill.as_ref().map_or(0, |spill| spill.need);
        let piece = if need > kept {
            payload.get(..need - kept).unwrap_or(payload)
        } else {
            payload
        };
        if kept + piece.len() < need {
            return self.keep(piece, need, head, out);
        }
        let Scratch { packet, inner, .. } = scratch;
        packet.clear();
        packet.extend_from_slice(self.spill.as_ref().map_or(&[], |spill| spill.bytes.as_slice()));
        packet.extend_from_slice(piece);
        let inner = inner.get_or_insert_with(Box::default);
        match carried.receive(now, packet, inner, out) {
            Ok(Step::Done { used, command }) => {
                match &mut self.spill {
                    Some(spill) if used < kept => {
                        spill.bytes.drain(..used);
                        spill.need = 0;
                    }
                    spill => *spill = None,
                }
                Ok(self.done(head, used.saturating_sub(kept), command, out))
            }
            Ok(Step::Need(need)) => self.keep(piece, need, head, out),
            Ok(Step::Hold) => Ok(consumed_or(head, Step::Hold)),
            Err(disconnect) => Err(self.fault(disconnect, out)),
        }
    }

    /// Consumes a piece of a packet into the spill.
    fn keep<O: Output>(
        &mut self,
        piece: &[u8],
        need: usize,
        head: usize,
        out: &mut O,
    ) -> Result<Step<'static>, Disconnect> {
        // The carried session bounds what it asks for; a peer that has not logged in is held shorter.
        if !self.attached && need > limits::PRELOGIN_BYTES_MAX {
            let reason = "before login a packet over 16 KiB must not span frames";
            self.close(CloseFrame::new(CloseCode::TOO_BIG, reason), out);
            return Err(Disconnect::TooLarge);
        }
        let spill = self.spill.get_or_insert_default();
        spill.need = need;
        spill.bytes.extend_from_slice(piece);
        self.take(piece.len());
        Ok(Step::Done {
            used: head + piece.len(),
            command: None,
        })
    }

    /// The carried session consumed `used` bytes of this frame's payload.
    pub(super) fn done<'a, O: Output>(
        &mut self,
        head: usize,
        used: usize,
        command: Option<Command<'a>>,
        out: &mut O,
    ) -> Step<'a> {
        self.take(used);
        self.overhead = 0;
        if matches!(command, Some(Command::Leave)) {
            self.close(CloseFrame::new(CloseCode::NORMAL, ""), out);
        }
        Step::Done {
            used: head + used,
            command,
        }
    }

    pub(super) fn take(&mut self, used: usize) {
        self.ready = self.ready.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
    }
}

/// Frames are bounded far below 4 GiB, and so is what is ready of one.
const fn usize_of(ready: u32) -> usize {
    const { assert!(limits::WS_FRAME_BYTES_MAX < u32::MAX as u64) };
    ready as usize
}

/// A header that was read is consumed, whatever the payload waits for.
pub(super) fn consumed_or(head: usize, waits: Step<'_>) -> Step<'_> {
    if head > 0 {
        return Step::Done {
            used: head,
            command: None,
        };
    }
    waits
}
