//! Patterns of channel names, as Centrifugo takes them (gobwas/glob without separators): `*` and `**` are any text, `?` any
//! character, `[abc]` and `[a-z]` one of those, `[!abc]` and `[!a-z]` one of the others, `{one,two*}` either pattern, `\` takes the
//! next character as it is.

/// Longest pattern, in characters: matching takes their number times that of the name's.
const MAX_PATTERN: usize = 1024;

/// A pattern.
#[derive(Debug)]
pub(crate) struct Glob {
    program: Vec<Step>,
    prefix: String,
}

/// One step of a non-deterministic automaton. Those that take no character name the steps to go on with.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Character(char),
    AnyCharacter,
    Listed { characters: Vec<char>, others: bool },
    Between { low: char, high: char, others: bool },
    Either(Vec<usize>),
    End,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GlobError {
    #[error("longer than {MAX_PATTERN} characters")]
    TooLong,
    #[error("a [ is not closed after one list or one range")]
    Brackets,
    #[error("[] lists nothing")]
    EmptyList,
    #[error("a range runs backwards")]
    Backwards,
}

impl Glob {
    pub(crate) fn parse(pattern: &str) -> Result<Self, GlobError> {
        let characters: Vec<char> = pattern.chars().collect();
        if characters.len() > MAX_PATTERN {
            return Err(GlobError::TooLong);
        }
        let mut parser = Parser { rest: &characters, program: Vec::new(), open: Vec::new() };
        parser.parse()?;
        let Parser { program, .. } = parser;
        let prefix = program.iter().map_while(|step| match step {
            Step::Character(character) => Some(character),
            _ => None,
        });
        Ok(Self { prefix: prefix.collect(), program })
    }

    /// What every name begins with that it matches.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut now = Vec::new();
        self.reach(0, &mut vec![false; self.program.len()], &mut now);
        for character in name.chars() {
            let (mut next, mut reached) = (Vec::new(), vec![false; self.program.len()]);
            for at in now {
                if self.program[at].takes(character) {
                    self.reach(at + 1, &mut reached, &mut next);
                }
            }
            now = next;
        }
        now.into_iter().any(|at| self.program[at] == Step::End)
    }

    /// Adds the steps that can be reached without a character.
    fn reach(&self, from: usize, reached: &mut [bool], steps: &mut Vec<usize>) {
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut reached[at], true) {
                continue;
            }
            match &self.program[at] {
                Step::Either(ways) => open.extend(ways),
                _ => steps.push(at),
            }
        }
    }
}

impl Step {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Character(wanted) => *wanted == character,
            Self::AnyCharacter => true,
            Self::Listed { characters, others } => characters.contains(&character) != *others,
            Self::Between { low, high, others } => (*low..=*high).contains(&character) != *others,
            Self::Either(_) | Self::End => false,
        }
    }
}

/// Writes the program from left to right.
struct Parser<'a> {
    rest: &'a [char],
    program: Vec<Step>,
    open: Vec<Braces>,
}

/// `{` that is not closed yet.
struct Braces {
    /// Where the alternatives branch off.
    fork: usize,
    /// The ends of those that are complete; each is to go on behind the `}`.
    ends: Vec<usize>,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn parse(&mut self) -> Result<(), GlobError> {
        while let Some(character) = self.next() {
            match character {
                '*' => {
                    let at = self.program.len();
                    self.program.extend([
                        Step::Either(vec![at + 1, at + 3]),
                        Step::AnyCharacter,
                        Step::Either(vec![at]),
                    ]);
                }
                '?' => self.program.push(Step::AnyCharacter),
                '[' => {
                    let step = self.brackets()?;
                    self.program.push(step);
                }
                '{' => {
                    let fork = self.program.len();
                    self.program.push(Step::Either(vec![fork + 1]));
                    self.open.push(Braces { fork, ends: Vec::new() });
                }
                ',' if !self.open.is_empty() => self.alternative(),
                '}' if !self.open.is_empty() => self.close(),
                // a last one stands for nothing
                '\\' => {
                    let next = self.next();
                    self.program.extend(next.map(Step::Character));
                }
                other => self.program.push(Step::Character(other)),
            }
        }
        // what is not closed ends here
        while !self.open.is_empty() {
            self.close();
        }
        self.program.push(Step::End);
        Ok(())
    }

    /// An alternative ends and another begins.
    fn alternative(&mut self) {
        let end = self.program.len();
        self.program.push(Step::Either(Vec::new()));
        if let Some(Braces { fork, ends }) = self.open.last_mut() {
            ends.push(end);
            if let Step::Either(ways) = &mut self.program[*fork] {
                ways.push(end + 1);
            }
        }
    }

    fn close(&mut self) {
        let behind = self.program.len();
        for end in self.open.pop().map(|braces| braces.ends).unwrap_or_default() {
            self.program[end] = Step::Either(vec![behind]);
        }
    }

    /// `abc]`, `a-z]`, either after a `!`.
    fn brackets(&mut self) -> Result<Step, GlobError> {
        let others = self.rest.first() == Some(&'!');
        if others {
            self.next();
        }
        if self.rest.is_empty() {
            return Err(GlobError::Brackets);
        }
        if let [low, '-', rest @ ..] = self.rest {
            let [high, ']', rest @ ..] = rest else { return Err(GlobError::Brackets) };
            self.rest = rest;
            if low > high {
                return Err(GlobError::Backwards);
            }
            return Ok(Step::Between { low: *low, high: *high, others });
        }
        let mut characters = Vec::new();
        loop {
            match self.next() {
                None => return Err(GlobError::Brackets),
                Some(']') if characters.is_empty() => return Err(GlobError::EmptyList),
                Some(']') => return Ok(Step::Listed { characters, others }),
                Some('\\') => characters.extend(self.next()),
                Some(character) => characters.push(character),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, names: &[&str]) {
        let glob = Glob::parse(pattern).unwrap();
        for name in names {
            assert!(glob.matches(name), "{pattern} should match {name}");
            assert!(name.starts_with(glob.prefix()), "{pattern}: {} should lead {name}", glob.prefix());
        }
    }

    fn matches_not(pattern: &str, names: &[&str]) {
        let glob = Glob::parse(pattern).unwrap();
        for name in names {
            assert!(!glob.matches(name), "{pattern} should not match {name}");
        }
    }

    #[test]
    fn a_star_is_any_text_and_a_question_mark_any_character() {
        matches("*", &["", "a", "news:x"]);
        matches("**", &["", "a:b"]);
        matches("news:*", &["news:", "news:a:b"]);
        matches_not("news:*", &["news", "xnews:a"]);
        matches("*:?", &["a:b", "a:b:ö"]);
        matches_not("*:?", &["a:", "a:bc"]);
        matches("a*b*c", &["abc", "a-b-b-c", "abcbc"]);
        matches_not("a*b*c", &["ac", "abcd"]);
        matches("news", &["news"]);
        matches_not("news", &["new", "newss", "News", ""]);
        matches_not("", &["a"]);
    }

    #[test]
    fn brackets_list_characters_or_span_them() {
        matches("[abc]x", &["ax", "cx"]);
        matches_not("[abc]x", &["dx", "x", "abx"]);
        matches("[!abc]x", &["dx"]);
        matches_not("[!abc]x", &["ax", "x"]);
        matches("n[0-9]", &["n0", "n9"]);
        matches_not("n[0-9]", &["na", "n", "n-"]);
        matches("n[!0-9]", &["na"]);
        matches_not("n[!0-9]", &["n5"]);
        matches("[\\]a]", &["]", "a"]);
        matches("[^a]", &["^", "a"]);
        matches("[*?{]", &["*", "?", "{"]);
    }

    #[test]
    fn braces_hold_alternatives_which_are_patterns() {
        matches("{news,chat}:*", &["news:a", "chat:"]);
        matches_not("{news,chat}:*", &["new:a", "newschat:a"]);
        matches("a{b*,c{d,e}f,}g", &["abg", "abxg", "acdfg", "acefg", "ag"]);
        matches_not("a{b*,c{d,e}f,}g", &["acg", "acdg", "a"]);
        matches("{a,b", &["a", "b"]);
        matches("a,b}", &["a,b}"]);
        matches("{}x", &["x"]);
        matches("{*a,b}{c,d*}", &["xac", "bd", "bdd"]);
    }

    #[test]
    fn a_backslash_takes_the_next_character_as_it_is() {
        matches("\\*\\{\\\\", &["*{\\"]);
        matches("{a\\,b,c}", &["a,b", "c"]);
        matches_not("\\*", &["a"]);
        matches("a\\", &["a"]);
    }

    #[test]
    fn what_every_match_begins_with_is_known() {
        let prefix = |pattern: &str| Glob::parse(pattern).unwrap().prefix().to_owned();
        assert_eq!(prefix("news:*"), "news:");
        assert_eq!(prefix("a\\*b?"), "a*b");
        assert_eq!(prefix("{news,chat}:*"), "");
        assert_eq!(prefix("chat:[ab]x"), "chat:");
        assert_eq!(prefix("whole"), "whole");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, error) in [
            ("[", GlobError::Brackets),
            ("[!", GlobError::Brackets),
            ("[abc", GlobError::Brackets),
            ("[a-zA]", GlobError::Brackets),
            ("[a-", GlobError::Brackets),
            ("[]", GlobError::EmptyList),
            ("[!]", GlobError::EmptyList),
            ("[z-a]", GlobError::Backwards),
        ] {
            assert_eq!(Glob::parse(pattern).err(), Some(error), "{pattern}");
        }
        assert_eq!(Glob::parse(&"a".repeat(1025)).err(), Some(GlobError::TooLong));
    }

    #[test]
    fn a_hostile_pattern_is_matched_in_no_time() {
        let glob = Glob::parse(&"{*a,*}".repeat(170)).unwrap();
        let began = std::time::Instant::now();
        assert!(glob.matches(&"b".repeat(255)));
        assert!(!Glob::parse(&format!("{}c", "*a".repeat(500))).unwrap().matches(&"a".repeat(255)));
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }

    proptest! {
        #[test]
        fn no_pattern_and_no_name_makes_it_panic(pattern in "[a-c*?\\[\\]{},!\\\\-]{0,24}", name in "[a-c,]{0,8}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                let matched = glob.matches(&name);
                prop_assert!(!matched || name.starts_with(glob.prefix()));
            }
        }

        #[test]
        fn a_text_without_special_characters_matches_itself(text in "[a-z:#$,.-]{1,40}", other in "[a-z:#$,.-]{1,40}") {
            let glob = Glob::parse(&text).unwrap();
            prop_assert!(glob.matches(&text));
            prop_assert_eq!(glob.matches(&other), text == other);
        }
    }
}
