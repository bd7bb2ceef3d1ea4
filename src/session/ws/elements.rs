//! From messages to the carried session's elements: it is shown whole messages only.

use super::carry::consumed_or;
use super::{Carried, Session, Stage};
use crate::codec::ws::{CloseCode, CloseFrame};
use crate::limits;
use crate::session::{Disconnect, Output, Scratch, Step};
use crate::time::Now;

impl<S: Carried> Session<S> {
    /// Payload that the next frame of the message may have, or of a new one.
    pub(super) fn element_bytes_left(&self) -> u64 {
        let most = if self.attached {
            limits::STANZA_BYTES_MAX
        } else {
            limits::PRELOGIN_BYTES_MAX
        };
        let kept = self.spill.as_ref().map_or(0, |spill| spill.bytes.len());
        most.saturating_sub(kept) as u64
    }

    /// The frame whose header was just read is not its message's last.
    pub(super) fn begin_element(&mut self) {
        self.spill.get_or_insert_default();
    }

    /// Takes the payload of one frame, as far as it has come; it stands behind `head` bytes of header.
    pub(super) fn element<'a, O: Output>(
        &mut self,
        now: Now,
        payload: &'a mut [u8],
        head: usize,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let whole = !self.decoder.in_message();
        match &mut self.spill {
            None if whole => self.show_in_place(now, payload, head, scratch, out),
            // Its only frame: the shard gathers it where it will be read.
            None => {
                let left = usize::try_from(self.decoder.payload_left()).unwrap_or(usize::MAX);
                Ok(consumed_or(head, Step::Need(payload.len().saturating_add(left))))
            }
            Some(_) if whole => self.show_gathered(now, payload, head, scratch, out),
            Some(_) if payload.is_empty() => Ok(consumed_or(head, Step::Need(1))),
            Some(spill) => {
                spill.bytes.extend_from_slice(payload);
                self.take(payload.len());
                Ok(Step::Done {
                    used: head + payload.len(),
                    command: None,
                })
            }
        }
    }

    /// The message is one frame.
    fn show_in_place<'a, O: Output>(
        &mut self,
        now: Now,
        message: &'a mut [u8],
        head: usize,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let Stage::Open(carried) = &mut self.stage else {
            return Ok(Step::Hold);
        };
        let len = message.len();
        if len == 0 {
            return Err(self.empty(out));
        }
        match carried.receive(now, message, scratch, out) {
            Ok(Step::Done { used, command }) if used == len || (used == 0 && command.is_some()) => {
                Ok(self.done(head, used, command, out))
            }
            Ok(Step::Hold) => Ok(consumed_or(head, Step::Hold)),
            Ok(_) => Err(self.fault(Disconnect::Malformed, out)),
            Err(disconnect) => Err(self.fault(disconnect, out)),
        }
    }

    /// The message is in the spill but for its end, `piece`, which is not consumed before all of it is.
    fn show_gathered<'a, O: Output>(
        &mut self,
        now: Now,
        piece: &[u8],
        head: usize,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let (Stage::Open(carried), Some(spill)) = (&mut self.stage, &mut self.spill) else {
            return Ok(Step::Hold);
        };
        let Scratch { packet, inner, .. } = scratch;
        packet.clear();
        packet.extend_from_slice(&spill.bytes);
        packet.extend_from_slice(piece);
        let len = packet.len();
        if len == 0 {
            return Err(self.empty(out));
        }
        let inner = inner.get_or_insert_with(Box::default);
        // A header is consumed ahead of its payload; one without any has to stand for the message.
        let alone = if piece.is_empty() { head } else { 0 };
        match carried.receive(now, packet, inner, out) {
            Ok(Step::Done { used, command }) if used == len => {
                self.spill = None;
                Ok(self.done(head, piece.len(), command, out))
            }
            Ok(Step::Done { used: 0, command }) if command.is_some() => {
                spill.head = alone;
                Ok(self.done(head - alone, 0, command, out))
            }
            Ok(Step::Hold) => {
                spill.head = alone;
                Ok(consumed_or(head - alone, Step::Hold))
            }
            Ok(_) => Err(self.fault(Disconnect::Malformed, out)),
            Err(disconnect) => Err(self.fault(disconnect, out)),
        }
    }

    /// An empty message is no element, and nothing in it could be consumed (RFC 7395, 3.3.3; RFC 6455, 7.4.1).
    fn empty<O: Output>(&mut self, out: &mut O) -> Disconnect {
        self.close(CloseFrame::new(CloseCode::INVALID_DATA, "empty message"), out);
        Disconnect::Malformed
    }
}
