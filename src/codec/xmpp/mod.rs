//! XMPP's XML (RFC 6120, section 11; RFC 7395): elements found in a stream of bytes, read in place, and written.
//!
//! What a [`Framer`] lets pass is well formed, with its namespaces, for any parser: pieces of it may be passed on
//! to other clients as they are. An [`Element`] is a view of what a framer found; [`Piece`]s are what is written.
//! Text without references, and that is nearly all, is read where it lies.

pub mod document;
pub mod framer;
pub mod jid;
pub mod text;
pub mod write;

mod content;
mod element;
mod malformed;
mod names;
mod start;
mod tag;

#[cfg(test)]
mod tests;

pub use content::Text;
pub use element::{Attributes, Children, Declarations, Element};
pub use framer::{Bounds, Framer, frame_whole};
pub use jid::{Jid, JidError};
pub use malformed::Malformed;
pub use text::is_xml_text;
pub use write::Piece;
