//! The types that packets are made of (1.5), apart from the daemon's own codec.

/// A Variable Byte Integer.
pub(crate) fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7F).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A string or binary datum with its length.
pub(crate) fn counted(bytes: &[u8]) -> Vec<u8> {
    let mut all = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend(bytes);
    all
}

/// A packet: its first byte, the Remaining Length, its body.
pub(crate) fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(variable(body.len()));
    bytes.extend(body);
    bytes
}

/// Reads what a server sent, which has to be well-formed.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("cut short")?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn two(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    pub(crate) fn four(&mut self) -> Result<u32, String> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().unwrap()))
    }

    pub(crate) fn counted(&mut self) -> Result<&'a [u8], String> {
        let length = self.two()?;
        self.take(length.into())
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, String> {
        let text = std::str::from_utf8(self.counted()?).map_err(|error| error.to_string())?;
        if text.contains('\0') {
            return Err("U+0000 in a string".to_owned());
        }
        Ok(text)
    }

    /// A Variable Byte Integer in its shortest form.
    pub(crate) fn variable(&mut self) -> Result<usize, String> {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                if place > 0 && byte == 0 {
                    return Err("a variable byte integer longer than needed".to_owned());
                }
                return Ok(value);
            }
        }
        Err("a variable byte integer of more than four bytes".to_owned())
    }
}
