use thiserror::Error;

use crate::format::{checksum, digit};

/// Why a delta does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DeltaError {
    /// It is not of the format, or it ends too early.
    #[error("malformed at byte {at}")]
    Malformed {
        /// Where in the delta.
        at: usize,
    },
    /// It copies what the origin does not have: made for another one.
    #[error("copies from beyond the end of the origin")]
    BeyondOrigin,
    /// It gives a text of another length than it says: made for another origin, or broken.
    #[error("gives a text of another length than announced")]
    WrongLength,
    /// It gives another text than the one that it was made of.
    #[error("gives another text than announced")]
    WrongChecksum,
}

/// The target, from the origin and the delta between them. The result is never longer than the delta's commands make it:
/// a length that is only announced takes no memory.
pub fn apply(origin: &[u8], delta: &[u8]) -> Result<Vec<u8>, DeltaError> {
    let mut commands = Commands { delta, at: 0 };
    let length = commands.number()?;
    commands.expect(b'\n')?;
    let mut target = Vec::new();
    loop {
        let count = commands.number()?;
        match commands.byte()? {
            b'@' => {
                let offset = commands.number()? as usize;
                commands.expect(b',')?;
                let copied = origin.get(offset..).and_then(|rest| rest.get(..count as usize));
                target.extend_from_slice(copied.ok_or(DeltaError::BeyondOrigin)?);
            }
            b':' => target.extend_from_slice(commands.bytes(count as usize)?),
            b';' if commands.at < delta.len() => return Err(commands.malformed()),
            b';' if target.len() != length as usize => return Err(DeltaError::WrongLength),
            b';' if checksum(&target) != count => return Err(DeltaError::WrongChecksum),
            b';' => return Ok(target),
            _ => return Err(commands.malformed()),
        }
        if target.len() > length as usize {
            return Err(DeltaError::WrongLength);
        }
    }
}

struct Commands<'a> {
    delta: &'a [u8],
    at: usize,
}

impl<'a> Commands<'a> {
    fn malformed(&self) -> DeltaError {
        DeltaError::Malformed { at: self.at }
    }

    fn byte(&mut self) -> Result<u8, DeltaError> {
        let byte = *self.delta.get(self.at).ok_or(self.malformed())?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, expected: u8) -> Result<(), DeltaError> {
        if self.byte()? == expected { Ok(()) } else { Err(self.malformed()) }
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], DeltaError> {
        let bytes = self.delta[self.at..].get(..count).ok_or(self.malformed())?;
        self.at += count;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32, DeltaError> {
        let begin = self.at;
        let mut number = 0_u32;
        while let Some(value) = self.delta.get(self.at).copied().and_then(digit) {
            if number >> 26 != 0 {
                return Err(self.malformed());
            }
            number = (number << 6) | value;
            self.at += 1;
        }
        if self.at == begin { Err(self.malformed()) } else { Ok(number) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_literals_make_the_target() {
        assert_eq!(apply(b"abcdef", b"8\n3@0,2:xy3@3,3QmhZU;").as_deref(), Ok(b"abcxydef".as_slice()));
        assert_eq!(apply(b"abcdef", b"0\n0;"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_delta_is_refused_where_it_goes_wrong() {
        for (delta, at) in [
            ("", 0),
            ("3", 1),
            ("3 ", 2),
            ("\n", 0),
            ("3\n", 2),
            ("3\n3@", 4),
            ("3\n3@0", 5),
            ("3\n3@0;", 6),
            ("3\n3:ab", 4),
            ("3\n3?", 4),
            ("3\n3:abc", 7),
            ("3\n:abc", 2),
            ("0\n0; ", 4),
            ("400000\n0;", 5),
        ] {
            assert_eq!(apply(b"abc", delta.as_bytes()), Err(DeltaError::Malformed { at }), "{delta:?}");
        }
    }

    #[test]
    fn a_delta_of_another_origin_is_noticed() {
        assert_eq!(apply(b"abc", b"3\n3@0,1;"), Err(DeltaError::WrongChecksum));
        for delta in [b"3\n3@1,0;".as_slice(), b"3\n1@4,0;", b"3\n3~~~~@0,0;"] {
            assert_eq!(apply(b"abc", delta), Err(DeltaError::BeyondOrigin), "{}", delta.escape_ascii());
        }
        for delta in [b"3\n2@0,0;".as_slice(), b"3\n2@0,2@1,0;", b"3\n4:abcd0;"] {
            assert_eq!(apply(b"abc", delta), Err(DeltaError::WrongLength), "{}", delta.escape_ascii());
        }
    }
}
