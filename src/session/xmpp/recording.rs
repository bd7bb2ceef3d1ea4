//! Outputs that remember what is written, for stream management.

use std::rc::Rc;

use super::managed::Managed;
use crate::session::Output;

/// The output of a connection whose stream is managed.
#[derive(Debug)]
pub(super) struct Recording<'a, O> {
    pub(super) out: &'a mut O,
    pub(super) managed: &'a mut Managed,
}

impl<O: Output> Output for Recording<'_, O> {
    type Shared = O::Shared;

    const FRAMING: u8 = O::FRAMING;

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let managed = &mut *self.managed;
        self.out.write(len, |buffer| {
            let begin = buffer.len();
            encode(buffer);
            managed.wrote(buffer.get(begin..).unwrap_or_default());
        });
    }

    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Self::Shared {
        self.out.share(len, encode)
    }

    fn push(&mut self, frame: &Self::Shared) {
        self.out.push(frame);
        self.managed.wrote(O::shared(frame));
    }

    fn shared(frame: &Self::Shared) -> &[u8] {
        O::shared(frame)
    }

    fn queued(&self) -> usize {
        self.out.queued()
    }
}

/// Where there is no connection: the elements that would have been written.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    pub(super) elements: Vec<Box<[u8]>>,
}

impl Output for Unsent {
    type Shared = Rc<[u8]>;

    const FRAMING: u8 = 0;

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut element = Vec::with_capacity(len);
        encode(&mut element);
        self.elements.push(element.into_boxed_slice());
    }

    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Self::Shared {
        let mut element = Vec::with_capacity(len);
        encode(&mut element);
        element.into()
    }

    fn push(&mut self, frame: &Self::Shared) {
        self.elements.push((**frame).into());
    }

    fn shared(frame: &Self::Shared) -> &[u8] {
        frame
    }

    fn queued(&self) -> usize {
        0
    }
}
