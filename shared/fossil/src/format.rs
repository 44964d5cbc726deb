/// Digits in the order of their value; the decoders know no other order.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

pub(crate) fn push_number(out: &mut Vec<u8>, number: usize) {
    for place in (0..number_length(number)).rev() {
        out.push(DIGITS[(number >> (6 * place)) & 63]);
    }
}

/// How many digits a number has; 0 has one.
pub(crate) fn number_length(number: usize) -> usize {
    (number.max(1).ilog2() / 6 + 1) as usize
}

pub(crate) fn digit(byte: u8) -> Option<u32> {
    Some(match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'Z' => u32::from(byte - b'A') + 10,
        b'_' => 36,
        b'a'..=b'z' => u32::from(byte - b'a') + 37,
        b'~' => 63,
        _ => return None,
    })
}

/// The sum of the text's 32-bit words, big-endian, the last one filled up with zeros.
pub(crate) fn checksum(text: &[u8]) -> u32 {
    let (words, rest) = text.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).fold(0, |sum, word| sum.wrapping_add(u32::from_be_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_they_are_written() {
        for (value, byte) in DIGITS.iter().enumerate() {
            assert_eq!(digit(*byte), u32::try_from(value).ok());
        }
        assert_eq!((0..=u8::MAX).filter(|byte| digit(*byte).is_some()).count(), 64);
    }

    #[test]
    fn a_number_has_as_many_digits_as_it_needs() {
        for (number, expected) in [(0, "0"), (63, "~"), (64, "10"), (4_095, "~~"), (4_096, "100"), (1_757, "RT")] {
            let mut written = Vec::new();
            push_number(&mut written, number);
            assert_eq!(std::str::from_utf8(&written), Ok(expected));
            assert_eq!(number_length(number), expected.len());
        }
    }

    #[test]
    fn the_checksum_adds_big_endian_words() {
        assert_eq!(checksum(b""), 0);
        assert_eq!(checksum(&[1, 2, 3, 4, 5]), 0x0102_0304 + 0x0500_0000);
        assert_eq!(checksum(&[0xFF; 8]), 0xFFFF_FFFE);
    }
}
