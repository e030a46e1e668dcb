//! Finds many words in a text in one pass over it.
//!
//! Instead of a general automaton, of which the host's half would carry 110 KB: words have at least four bytes, and
//! nearly every place of a text is passed over because no word begins with the four bytes there.

use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes by which a word is looked up.
const BEGINNING: usize = 4;

/// Words to find, by how they begin.
pub(super) struct Finder {
    /// One bit for each hash of a beginning.
    begins: Vec<u64>,
    /// Words of one beginning, the longest first.
    words: BTreeMap<u32, Vec<String>>,
}

impl Finder {
    /// Takes words of at least four bytes; shorter ones are not found.
    pub(super) fn new(words: &[String]) -> Self {
        let mut finder = Self { begins: vec![0; (1 << 16) / 64], words: BTreeMap::new() };
        for word in words {
            let Some(beginning) = beginning(word.as_bytes()) else { continue };
            let (slot, bit) = slot(beginning);
            finder.begins[slot] |= bit;
            finder.words.entry(beginning).or_default().push(word.clone());
        }
        for words in finder.words.values_mut() {
            words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        }
        finder
    }

    /// Returns whether any word is in a text.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.found(text).next().is_some()
    }

    /// Returns where words stand in a text; those that overlap are one place.
    pub(super) fn places(&self, text: &str) -> Vec<Range<usize>> {
        let mut places: Vec<Range<usize>> = Vec::new();
        for found in self.found(text) {
            match places.last_mut() {
                Some(last) if found.start < last.end => last.end = last.end.max(found.end),
                _ => places.push(found),
            }
        }
        places
    }

    /// The longest word at each place, in order.
    fn found<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        let text = text.as_bytes();
        (0..text.len()).filter_map(|at| Some(at..at + self.longest(&text[at..])?))
    }

    /// Length of the longest word that a text begins with.
    fn longest(&self, text: &[u8]) -> Option<usize> {
        let beginning = beginning(text)?;
        let (slot, bit) = slot(beginning);
        if self.begins[slot] & bit == 0 {
            return None;
        }
        self.words.get(&beginning)?.iter().find(|word| text.starts_with(word.as_bytes())).map(String::len)
    }
}

fn beginning(text: &[u8]) -> Option<u32> {
    text.first_chunk::<BEGINNING>().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Where the bit of a beginning lies: 16 bits of a multiplicative hash.
fn slot(beginning: u32) -> (usize, u64) {
    let hash = beginning.wrapping_mul(0x9E37_79B1) >> 16;
    ((hash / 64) as usize, 1 << (hash % 64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_that_overlap_are_one_place() {
        let finder = Finder::new(&["abcdef".to_owned(), "efgh".to_owned(), "abcd".to_owned()]);
        assert_eq!(finder.places("abcdefgh abcd abc"), [0..8, 9..13]);
        assert!(!finder.is_in("abc"));
    }

    proptest! {
        #[test]
        fn each_word_is_found_wherever_it_stands(words in proptest::collection::vec("[abé]{4,7}", 1..5), text in "[abé]{0,40}") {
            let finder = Finder::new(&words);
            let places = finder.places(&text);
            for word in &words {
                for (at, _) in text.match_indices(word.as_str()) {
                    prop_assert!(places.iter().any(|place| place.start <= at && at + word.len() <= place.end));
                }
            }
            prop_assert_eq!(finder.is_in(&text), words.iter().any(|word| text.contains(word.as_str())));
        }
    }
}
