use std::ops::Range;

use crate::format::{checksum, number_length, push_number};

/// The delta that makes `target` of `origin`. It may be longer than the target itself (then the target is what to send).
///
/// If the target is valid UTF-8, so is the delta: copies, and so literals, begin and end between characters.
///
/// Time is linear in both lengths. Memory is 4 bytes for each byte of the origin (of its first MiB) and 1 MiB at most beside
/// that, and nothing but the delta where one small change is all there is. The decoders' numbers have 32 bits: that is how
/// long texts can be.
pub fn create(origin: &[u8], target: &[u8]) -> Vec<u8> {
    let mut plan = Plan { origin, target, characters: std::str::from_utf8(target).is_ok(), copies: Vec::new() };
    let head = plan.floor(common_prefix(origin, target));
    let tail = plan.ceil(target.len() - common_suffix(&origin[head..], &target[head..]));
    plan.take(Copied { origin: 0, target: 0, length: head });
    plan.search(head..tail);
    let length = target.len() - tail;
    plan.take(Copied { origin: origin.len() - length, target: tail, length });
    plan.written()
}

/// So many bytes are looked up. Shorter copies would save less than their command takes.
const WINDOW: usize = 8;

/// What lies between the common beginning and the common end is not looked for if it is shorter than this.
const SMALL_CHANGE: usize = 16;

/// Places of the origin that are looked at for one of the target, the nearest to where one is expected.
const CANDIDATES: usize = 16;

/// A copy as long as this is taken without looking for a better one.
const LONG: usize = 256;

/// How far a copy may reach back into those before it.
const REACH: usize = 256;

/// So much of the origin is looked into.
const INDEXED: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Copied {
    origin: usize,
    target: usize,
    length: usize,
}

impl Copied {
    fn command_length(&self) -> usize {
        number_length(self.length) + number_length(self.origin) + 2
    }

    fn end(&self) -> usize {
        self.target + self.length
    }
}

struct Plan<'a> {
    origin: &'a [u8],
    target: &'a [u8],
    /// Whether the target has characters that must not be cut.
    characters: bool,
    /// In the target's order. What is between them goes literally.
    copies: Vec<Copied>,
}

impl Plan<'_> {
    /// Copies for a stretch of the target, wherever in the origin they are.
    fn search(&mut self, stretch: Range<usize>) {
        if stretch.len() < SMALL_CHANGE || self.origin.len() < WINDOW {
            return;
        }
        let index = Index::new(self.origin);
        let mut at = stretch.start;
        while at + WINDOW <= stretch.end {
            let Some(mut copy) = self.longest(&index, at, stretch.end) else {
                at += 1;
                continue;
            };
            // a longer one may begin a byte later
            if copy.length < LONG
                && let Some(later) = self.longest(&index, at + 1, stretch.end)
                && later.length > copy.length
            {
                copy = later;
            }
            at = if self.take(copy) { copy.end() } else { at + 1 };
        }
    }

    /// The longest copy that begins here, if there is any.
    fn longest(&self, index: &Index, at: usize, end: usize) -> Option<Copied> {
        if self.ceil(at) != at {
            return None;
        }
        let wanted = &self.target[at..end];
        let mut found = (0, 0);
        for candidate in index.nearest(*wanted.first_chunk()?, self.expected(at)).take(CANDIDATES) {
            let place = &self.origin[candidate..];
            if place.get(found.0) != wanted.get(found.0) {
                continue;
            }
            let length = common_prefix(place, wanted);
            if length > found.0 {
                found = (length, candidate);
            }
            if length >= LONG {
                break;
            }
        }
        let (length, origin) = found;
        let end = self.floor(at + length);
        (end > at).then(|| Copied { origin, target: at, length: end - at })
    }

    /// Where in the origin a place of the target is if nothing was inserted or removed since the last copy.
    fn expected(&self, at: usize) -> usize {
        self.copies.last().map_or(at, |last| last.origin + (at - last.target))
    }

    /// Takes a copy if it saves anything, from as far back as it goes: it may make those before it superfluous.
    fn take(&mut self, copy: Copied) -> bool {
        let (origin, target) = (&self.origin[..copy.origin], &self.target[..copy.target]);
        let back = origin.iter().rev().zip(target.iter().rev()).take(REACH).take_while(|(a, b)| a == b).count();
        let mut begin = self.ceil(copy.target - back);
        let kept = self.copies.iter().rposition(|earlier| earlier.target < begin).map_or(0, |last| last + 1);
        let superfluous = kept < self.copies.len();
        let planned = self.copies[..kept].last().map_or(0, Copied::end);
        begin = begin.max(planned);
        let copy = Copied { origin: copy.origin - (copy.target - begin), target: begin, length: copy.end() - begin };
        // a literal in two takes a length and a sign more
        let worth = copy.length > copy.command_length() + if begin > planned { 3 } else { 0 };
        if worth || superfluous {
            self.copies.truncate(kept);
            self.copies.push(copy);
        }
        worth || superfluous
    }

    fn floor(&self, mut at: usize) -> usize {
        while self.characters && self.target.get(at).is_some_and(|byte| is_continuation(*byte)) {
            at -= 1;
        }
        at
    }

    fn ceil(&self, mut at: usize) -> usize {
        while self.characters && self.target.get(at).is_some_and(|byte| is_continuation(*byte)) {
            at += 1;
        }
        at
    }

    fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_number(&mut out, self.target.len());
        out.push(b'\n');
        let end = Copied { origin: 0, target: self.target.len(), length: 0 };
        let mut planned = 0;
        for copy in self.copies.iter().chain([&end]) {
            let literal = &self.target[planned..copy.target];
            if !literal.is_empty() {
                push_number(&mut out, literal.len());
                out.push(b':');
                out.extend_from_slice(literal);
            }
            if copy.length > 0 {
                push_number(&mut out, copy.length);
                out.push(b'@');
                push_number(&mut out, copy.origin);
                out.push(b',');
            }
            planned = copy.end();
        }
        push_number(&mut out, checksum(self.target) as usize);
        out.push(b';');
        out
    }
}

/// Where in the origin each sequence of [`WINDOW`] bytes is.
struct Index {
    /// The first of a sequence's places, by its hash.
    begins: Vec<u32>,
    /// Ascending within a hash.
    places: Vec<u32>,
    shift: u32,
}

impl Index {
    fn new(origin: &[u8]) -> Self {
        let windows = || origin[..origin.len().min(INDEXED)].array_windows::<WINDOW>();
        let count = windows().len();
        let bits = count.max(1).ilog2().clamp(6, 17);
        let mut index = Self { begins: vec![0; (1 << bits) + 1], places: vec![0; count], shift: 32 - bits };
        for window in windows() {
            let hash = index.hash(*window);
            index.begins[hash + 1] += 1;
        }
        let mut sum = 0;
        for begin in &mut index.begins {
            sum += *begin;
            *begin = sum;
        }
        let mut free = index.begins.clone();
        for (place, window) in (0..).zip(windows()) {
            let free = &mut free[index.hash(*window)];
            index.places[*free as usize] = place;
            *free += 1;
        }
        index
    }

    fn hash(&self, window: [u8; WINDOW]) -> usize {
        // Fibonacci hashing: the top bits of a product depend on all bytes
        let product = u64::from_le_bytes(window).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((product >> 32) as u32 >> self.shift) as usize
    }

    /// Where those bytes may be, from the nearest place outwards.
    fn nearest(&self, window: [u8; WINDOW], expected: usize) -> impl Iterator<Item = usize> {
        let hash = self.hash(window);
        let places = &self.places[self.begins[hash] as usize..self.begins[hash + 1] as usize];
        let (mut before, mut after) = places.split_at(places.partition_point(|place| (*place as usize) < expected));
        std::iter::from_fn(move || {
            let (left, right) =
                (before.last().map(|place| *place as usize), after.first().map(|place| *place as usize));
            match (left, right) {
                (Some(left), right) if right.is_none_or(|right| expected - left < right - expected) => {
                    before = &before[..before.len() - 1];
                    Some(left)
                }
                (_, Some(right)) => {
                    after = &after[1..];
                    Some(right)
                }
                _ => None,
            }
        })
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let same = a.chunks_exact(16).zip(b.chunks_exact(16)).take_while(|(a, b)| a == b).count() * 16;
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let same = a.rchunks_exact(16).zip(b.rchunks_exact(16)).take_while(|(a, b)| a == b).count() * 16;
    let (a, b) = (&a[..a.len() - same], &b[..b.len() - same]);
    same + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply;

    fn delta(origin: &str, target: &str) -> String {
        let delta = create(origin.as_bytes(), target.as_bytes());
        assert_eq!(apply(origin.as_bytes(), &delta).as_deref(), Ok(target.as_bytes()));
        String::from_utf8(delta).unwrap()
    }

    /// 120 KB, about the largest publication.
    fn document() -> String {
        let rows = (0..2_100_u32).map(|id| {
            let score = id.wrapping_mul(2_654_435_761) >> 20;
            format!(r#"{{"id":{id},"name":"Škoda {}","score":{score},"live":true}}"#, score * 7 % 1_009)
        });
        format!("[{}]", rows.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn the_commands_are_those_of_the_format() {
        assert_eq!(delta("", ""), "0\n0;");
        assert_eq!(delta("", "abc"), "3\n3:abc1XObC0;");
        assert_eq!(delta("abcdefghij", "abcdefghij"), "A\nA@0,lChgC;");
        assert_eq!(delta("abcdefghij", ""), "0\n0;");
    }

    #[test]
    fn a_small_change_of_a_large_document_is_a_few_bytes() {
        let document = document();
        assert!((110_000..130_000).contains(&document.len()), "{}", document.len());
        assert!(delta(&document, &document).len() < 20);
        let middle = document.find(r#""id":1000,"#).unwrap();
        let replaced = format!("{}{}", &document[..middle], document[middle..].replacen("true", "false", 1));
        assert!(delta(&document, &replaced).len() < 32, "{}", delta(&document, &replaced));
        let inserted = format!("{}\"rank\":1,{}", &document[..middle], &document[middle..]);
        assert!(delta(&document, &inserted).len() < 40, "{}", delta(&document, &inserted));
        assert!(delta(&inserted, &document).len() < 32, "{}", delta(&inserted, &document));
    }

    #[test]
    fn changes_in_many_places_and_moved_rows_are_found() {
        let document = document();
        let every_tenth = document.replace("0,\"name\":\"Š", "0,\"name\":\"Ž");
        let changes = document.matches("0,\"name\":\"Š").count();
        assert!(delta(&document, &every_tenth).len() < 16 * changes, "{changes} changes");
        let half = document.find(r#"{"id":1050,"#).unwrap();
        let (first, second) = (&document[1..half - 1], &document[half..document.len() - 1]);
        let swapped = format!("[{second},{first}]");
        assert!(delta(&document, &swapped).len() < 40, "{}", delta(&document, &swapped));
    }

    #[test]
    fn a_character_is_never_cut() {
        // ä and ö, and both animals, begin with the same bytes; 東 and 亱 end with the same
        for (origin, target) in [
            ("a piece of text ä and more", "a piece of text ö and more"),
            ("a piece of text 🦀 and more", "a piece of text 🦁 and more"),
            ("a piece of text 東 and more", "a piece of text 亱 and more"),
        ] {
            let written = delta(origin, target);
            assert!(written.len() < target.len() + 8, "{written}");
        }
        // the whole is moved, so that prefix and suffix do not find it
        delta("ä piece of text that is ö", "xö piece of text that is äx");
    }

    #[test]
    fn text_that_is_no_utf_8_has_its_delta_too() {
        let origin = [0x80_u8; 1_000];
        let mut target = origin;
        target[500] = 0;
        let delta = create(&origin, &target);
        assert!(delta.len() < 32, "{}", delta.escape_ascii());
        assert_eq!(apply(&origin, &delta).as_deref(), Ok(target.as_slice()));
    }

    #[test]
    fn the_nearest_places_come_first() {
        let index = Index::new(b"12345678 12345678 12345678 12345678");
        let nearest =
            |expected| index.nearest(*b"12345678", expected).filter(|place| place % 9 == 0).collect::<Vec<_>>();
        assert_eq!(nearest(0), [0, 9, 18, 27]);
        assert_eq!(nearest(19), [18, 27, 9, 0]);
        assert_eq!(nearest(100), [27, 18, 9, 0]);
    }
}
