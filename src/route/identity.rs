//! Who a block is: app, user, role and resource, and the texts they are made of.
//!
//! Invariant: an [`Identity`] exists only for what the daemon authenticated; nothing a client claims about
//! itself is ever turned into one.

use std::fmt;

use crate::limits;

/// A name that does not follow its grammar. The text names the rule, for error messages to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError(pub &'static str);

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NameError {}

/// Checks an app's name: `[a-z][a-z0-9]{0,31}`.
pub fn check_app(name: &str) -> Result<&str, NameError> {
    let mut bytes = name.bytes();
    let head = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
    let tail = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if head && tail && name.len() <= limits::APP_NAME_BYTES_MAX {
        Ok(name)
    } else {
        Err(NameError(
            "an app's name is 1 to 32 of a-z and 0-9 and begins with a letter",
        ))
    }
}

/// Checks a resource, or the name of an API command, which has the same grammar: 1..=128 bytes of UTF-8, no
/// control character (C0, DEL, C1), no Unicode noncharacter and none of `/ + # @`.
pub fn check_resource(name: &str) -> Result<&str, NameError> {
    if name.is_empty() || name.len() > limits::RESOURCE_BYTES_MAX {
        return Err(NameError("a resource or command has 1 to 128 bytes"));
    }
    if name
        .chars()
        .any(|c| matches!(c, '/' | '+' | '#' | '@') || c.is_control() || is_noncharacter(c))
    {
        return Err(NameError(
            "a resource or command has no control character and none of / + # @",
        ));
    }
    Ok(name)
}

/// Unicode noncharacters: U+FDD0..=U+FDEF and the last two code points of every plane.
pub const fn is_noncharacter(c: char) -> bool {
    let code = c as u32;
    (code >= 0xFDD0 && code <= 0xFDEF) || code & 0xFFFE == 0xFFFE
}

/// Checks a channel's name: 1..=1024 bytes of UTF-8 in at most 64 levels, not starting with `$`, no wildcard, no
/// control character (C0, DEL, C1) and no Unicode noncharacter.
#[inline]
pub fn check_channel(name: &str) -> Result<&str, NameError> {
    let kinds = kinds_of_bytes(name);
    if kinds & WILDCARD != 0 {
        return Err(NameError("a channel's name has no wildcard"));
    }
    check_channel_text(name, kinds).map(|()| name)
}

/// `+` or `#`.
const WILDCARD: u8 = 1;
/// Not printable ASCII.
const UNUSUAL: u8 = 2;
/// Bytes that are looked at together.
const WIDE: usize = 16;

/// Which kinds of bytes are in a text: [`WILDCARD`], [`UNUSUAL`].
#[inline]
fn kinds_of_bytes(text: &str) -> u8 {
    let bytes = text.as_bytes();
    let Some(last) = bytes.last_chunk::<WIDE>() else {
        return bytes.iter().fold(0, |kinds, &byte| kinds | kinds_of_byte(byte));
    };
    // No early exit and no rest: what the last chunk and the one before it share is looked at twice.
    let mut kinds = kinds_of_chunk(last);
    let (chunks, _) = bytes.as_chunks::<WIDE>();
    for chunk in chunks {
        kinds |= kinds_of_chunk(chunk);
    }
    kinds
}

/// Of so many bytes that the compiler makes wide compares of it.
#[inline]
fn kinds_of_chunk(chunk: &[u8; WIDE]) -> u8 {
    chunk.iter().fold(0, |kinds, &byte| kinds | kinds_of_byte(byte))
}

#[inline]
fn kinds_of_byte(byte: u8) -> u8 {
    let is_wildcard = matches!(byte, b'+' | b'#');
    let is_unusual = !matches!(byte, b' '..=b'~');
    (u8::from(is_wildcard) * WILDCARD) | (u8::from(is_unusual) * UNUSUAL)
}

/// Checks a filter of channels: what [`check_channel`] asks of a name, but levels may be `+`, the last one `#`.
pub fn check_channel_filter(filter: &str) -> Result<&str, NameError> {
    check_channel_text(filter, kinds_of_bytes(filter))?;
    let mut ended = false;
    for level in filter.split('/') {
        let wild = level.bytes().any(|b| matches!(b, b'+' | b'#'));
        if ended || (wild && level.len() != 1) {
            return Err(NameError("a wildcard is a whole level, # the last one"));
        }
        ended = level == "#";
    }
    Ok(filter)
}

/// What names and filters have in common; `kinds` as [`kinds_of_bytes`] tells.
fn check_channel_text(text: &str, kinds: u8) -> Result<(), NameError> {
    if text.is_empty() || text.len() > limits::CHANNEL_BYTES_MAX {
        return Err(NameError("a channel has 1 to 1024 bytes"));
    }
    if text.starts_with('$') {
        return Err(NameError("a channel does not start with $"));
    }
    let separators = || text.bytes().filter(|&byte| byte == b'/').count();
    // Fewer bytes are never that many levels.
    if text.len() >= limits::CHANNEL_LEVELS_MAX && separators() >= limits::CHANNEL_LEVELS_MAX {
        return Err(NameError("a channel has at most 64 levels"));
    }
    if kinds & UNUSUAL != 0 && text.chars().any(|c| c.is_control() || is_noncharacter(c)) {
        return Err(NameError(
            "a channel has no control character and no noncharacter",
        ));
    }
    Ok(())
}

/// A user, 12 bytes written as 24 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid([u8; 12]);

impl Uid {
    /// Reads 24 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        const RULE: NameError = NameError("a uid is 24 lower-case hex digits");
        let digits = text.as_bytes();
        if digits.len() != limits::UID_BYTES {
            return Err(RULE);
        }
        let mut uid = [0; 12];
        for (byte, pair) in uid.iter_mut().zip(digits.chunks_exact(2)) {
            let &[high, low] = pair else { return Err(RULE) };
            *byte = hex_digit(high).ok_or(RULE)? << 4 | hex_digit(low).ok_or(RULE)?;
        }
        Ok(Self(uid))
    }

    /// The 12 bytes.
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a user is to an app on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Owns the app. Its workers are offered to every entitled caller.
    Owner,
    /// Works with the owner. Its workers are offered to every entitled caller.
    Partner,
    /// Uses the app. Its workers are offered to its own uid alone.
    User,
}

impl Role {
    /// The role as it stands in account names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Partner => "partner",
            Self::User => "user",
        }
    }

    /// Reads a role as it stands in account names.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text {
            "owner" => Ok(Self::Owner),
            "partner" => Ok(Self::Partner),
            "user" => Ok(Self::User),
            _ => Err(NameError("a role is owner, partner or user")),
        }
    }

    /// Whether callers other than the worker's own uid see a worker of this role.
    pub const fn is_public(self) -> bool {
        matches!(self, Self::Owner | Self::Partner)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An account's name, `<app>-<uid>-<role>`, taken apart. What logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Account<'a> {
    /// The whole name.
    pub name: &'a str,
    /// The app's name.
    pub app: &'a str,
    /// The user.
    pub uid: Uid,
    /// What the user is to the app.
    pub role: Role,
}

impl<'a> Account<'a> {
    /// Takes an account's name apart: exactly three parts with a `-` between.
    pub fn parse(name: &'a str) -> Result<Self, NameError> {
        const RULE: NameError = NameError("an account is <app>-<uid>-<role>");
        let (app, rest) = name.split_once('-').ok_or(RULE)?;
        let (uid, role) = rest.split_once('-').ok_or(RULE)?;
        Ok(Self {
            name,
            app: check_app(app)?,
            uid: Uid::parse(uid)?,
            role: Role::parse(role)?,
        })
    }
}

/// The sender of a message as the daemon authenticated it, borrowed from the session or from a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender<'a> {
    /// `<app>-<uid>-<role>/<resource>`, from which all the parts are slices.
    address: &'a str,
    app_len: u8,
    role: Role,
}

impl<'a> Sender<'a> {
    /// Takes an address, `<account>/<resource>`, apart.
    pub fn parse(address: &'a str) -> Result<Self, NameError> {
        let (account, resource) = address
            .split_once('/')
            .ok_or(NameError("an address is <account>/<resource>"))?;
        let account = Account::parse(account)?;
        check_resource(resource)?;
        let app_len = u8::try_from(account.app.len()).map_err(|_| NameError("app too long"))?;
        Ok(Self {
            address,
            app_len,
            role: account.role,
        })
    }

    /// Puts a sender together again from what an earlier one was made of.
    pub(super) const fn restore(address: &'a str, app_len: u8, role: Role) -> Self {
        Self {
            address,
            app_len,
            role,
        }
    }

    /// Bytes of the app's name.
    pub(super) const fn app_len(&self) -> u8 {
        self.app_len
    }

    /// `<account>/<resource>`: the block's address without the domain.
    pub const fn address(&self) -> &'a str {
        self.address
    }

    /// The app's name.
    pub fn app(&self) -> &'a str {
        self.address.get(..usize::from(self.app_len)).unwrap_or_default()
    }

    /// The user as 24 hex digits.
    pub fn uid_hex(&self) -> &'a str {
        let start = usize::from(self.app_len) + 1;
        self.address
            .get(start..start + limits::UID_BYTES)
            .unwrap_or_default()
    }

    /// The user.
    pub fn uid(&self) -> Uid {
        Uid::parse(self.uid_hex()).unwrap_or(Uid([0; 12]))
    }

    /// What the user is to the app.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// `<app>-<uid>-<role>`.
    pub fn account(&self) -> &'a str {
        self.address.get(..self.account_len()).unwrap_or_default()
    }

    /// The resource, byte for byte as the client asked for it.
    pub fn resource(&self) -> &'a str {
        self.address.get(self.account_len() + 1..).unwrap_or_default()
    }

    fn account_len(&self) -> usize {
        usize::from(self.app_len) + 1 + limits::UID_BYTES + 1 + self.role.as_str().len()
    }

    /// Whether this block may do what operators alone may: an account of the app `nexus` with role `owner`.
    pub fn is_operator(&self) -> bool {
        self.role == Role::Owner && self.app() == BUILT_IN_APP
    }
}

/// The app that the daemon itself answers for, and whose owners are the operators.
pub const BUILT_IN_APP: &str = "nexus";

/// A block's identity, owned. One allocation; all parts are slices of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Two characters, for the length of the app's name and for the role, then the address: every idle session has
    /// one of these, and a length beside the text would cost eight bytes.
    text: Box<str>,
}

/// Bytes before the address.
const HEAD_BYTES: usize = 2;

impl Identity {
    /// Joins an account that has been authenticated with the resource it asked for.
    pub fn new(account: &Account<'_>, resource: &str) -> Result<Self, NameError> {
        check_resource(resource)?;
        let app_len = u8::try_from(account.app.len()).map_err(|_| NameError("app too long"))?;
        Ok(Self::from_parts(
            app_len,
            account.role,
            &[account.name, "/", resource],
        ))
    }

    /// The identity of a block on another shard, as that shard authenticated it.
    pub(super) fn of(sender: &Sender<'_>) -> Self {
        Self::from_parts(sender.app_len, sender.role, &[sender.address])
    }

    fn from_parts(app_len: u8, role: Role, address: &[&str]) -> Self {
        let bytes = address.iter().map(|part| part.len()).sum::<usize>();
        let mut text = String::with_capacity(HEAD_BYTES + bytes);
        // At most 32: a character of one byte, like the role's.
        text.push(char::from(app_len));
        text.push(match role {
            Role::Owner => 'o',
            Role::Partner => 'p',
            Role::User => 'u',
        });
        address.iter().for_each(|part| text.push_str(part));
        Self {
            text: text.into_boxed_str(),
        }
    }

    /// The identity as it is stamped on messages.
    pub fn sender(&self) -> Sender<'_> {
        let (app_len, role) = match self.text.as_bytes() {
            [app_len, b'o', ..] => (*app_len, Role::Owner),
            [app_len, b'p', ..] => (*app_len, Role::Partner),
            [app_len, ..] => (*app_len, Role::User),
            [] => (0, Role::User),
        };
        Sender {
            address: self.text.get(HEAD_BYTES..).unwrap_or_default(),
            app_len,
            role,
        }
    }
}

#[cfg(test)]
mod tests;
