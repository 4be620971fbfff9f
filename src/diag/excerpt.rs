//! A text as it is shown around marks.

use std::ops::Range;

use super::printable::acts;

/// Lines of more bytes are cut.
const WIDEST: usize = 400;
/// Characters that stay on each side of the end of a mark in a line that is cut.
const AROUND: usize = 60;
const CUT: &str = "...";

/// The lines from the first to the last place that matters, long ones only around such places, and with
/// nothing that acts on a terminal. Lines before them are empty, so that they keep their numbers.
pub struct Excerpt {
    pub text: String,
    /// Where the pieces that stay begin: in the whole text, and here.
    pieces: Vec<(usize, usize)>,
}

impl Excerpt {
    /// The places are offsets in the text, in any order. Without any, all lines are kept.
    pub fn new(text: &str, places: impl IntoIterator<Item = usize>) -> Self {
        let mut places: Vec<usize> = places.into_iter().map(|at| text.floor_char_boundary(at)).collect();
        places.sort_unstable();
        let (first, last) = (places.first().copied().unwrap_or(0), places.last().copied());
        let mut start = text[..first].rfind('\n').map_or(0, |at| at + 1);
        let behind = last.and_then(|last| Some(last + text[last..].find('\n')? + 1));
        let lines = &text[start..behind.unwrap_or(text.len())];
        let before = text[..start].bytes().filter(|&byte| byte == b'\n').count();
        let mut excerpt = Self { text: "\n".repeat(before), pieces: Vec::new() };
        excerpt.text.reserve(lines.len());
        for line in lines.split_inclusive('\n') {
            let end = start + line.len();
            if line.len() <= WIDEST {
                excerpt.keep(text, start..end);
            } else {
                let last = end == text.len() && !line.ends_with('\n');
                let first = places.partition_point(|&at| at < start);
                let behind = places.partition_point(|&at| at < end || (last && at == end));
                excerpt.cut(text, start..end, &places[first..behind]);
            }
            start = end;
        }
        excerpt
    }

    /// Where a place of the whole text is here.
    pub fn offset(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|&(whole, _)| whole <= at);
        self.pieces[..piece].last().map_or(self.text.len(), |&(whole, here)| here + (at - whole))
    }

    /// Keeps of a line what is near the places, and its end.
    fn cut(&mut self, text: &str, line: Range<usize>, places: &[usize]) {
        let content = line.start + text[line.clone()].trim_end_matches(['\r', '\n']).len();
        let start = [line.start];
        let mut kept = line.start;
        for &at in if places.is_empty() { &start } else { places } {
            let left = text[line.start..at].char_indices().rev().nth(AROUND - 1);
            let left = left.map_or(line.start, |(before, _)| line.start + before).max(kept);
            // A place can lie in the line's end, behind its content.
            let right = text[at.min(content)..content].char_indices().nth(AROUND);
            let right = right.map_or(content, |(behind, _)| at + behind).max(kept);
            kept = self.leave_out(text, kept..left);
            self.keep(text, kept..right.max(kept));
            kept = right.max(kept);
        }
        kept = self.leave_out(text, kept..content);
        self.keep(text, kept..line.end);
    }

    /// Leaves a piece out, if that is shorter; gives where the next piece begins.
    fn leave_out(&mut self, text: &str, piece: Range<usize>) -> usize {
        if piece.len() > CUT.len() {
            self.text.push_str(CUT);
        } else {
            self.keep(text, piece.clone());
        }
        piece.end
    }

    /// Offsets within a piece stay as they are: what acts gives way to as many bytes.
    fn keep(&mut self, text: &str, piece: Range<usize>) {
        if piece.is_empty() {
            return;
        }
        self.pieces.push((piece.start, self.text.len()));
        let mut rest = text[piece].chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\n' | '\t' => self.text.push(c),
                '\r' if rest.peek() == Some(&'\n') => self.text.push(c),
                c if acts(c) => self.text.push_str(["?", "\u{b7}", "\u{fffd}"][c.len_utf8() - 1]),
                c => self.text.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_around_the_places() {
        let long: String = (0..3000).map(|i| if i % 7 == 0 { 'é' } else { 'x' }).collect();
        let text = format!("first\nshort\n{long}MARK{long}\n{long}\nlast {long}");
        let at = text.find("MARK").unwrap();
        let excerpt = Excerpt::new(&text, [at + 4, 6, at, text.len()]);
        let lines: Vec<&str> = excerpt.text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[1]), (5, "", "short"));
        let lines = &lines[1..];
        assert!(lines[1].starts_with("...") && lines[1].ends_with("..."), "{}", lines[1]);
        assert!(lines.iter().all(|line| line.chars().count() < 140), "{lines:?}");
        assert!(excerpt.text[excerpt.offset(at)..].starts_with("MARK"));
        assert_eq!(excerpt.offset(at + 4), excerpt.offset(at) + 4);
        assert_eq!(excerpt.offset(text.len()), excerpt.text.len());
        // Lines without a place show how they begin, and those around the places are left out.
        assert!(lines[2].starts_with('é') && lines[2].ends_with("..."), "{}", lines[2]);
        let excerpt = Excerpt::new(&text, [at]);
        assert_eq!(excerpt.text.lines().filter(|line| !line.is_empty()).count(), 1);
    }

    #[test]
    fn what_acts_gives_way_to_as_many_bytes() {
        let text = "a\u{1b}[2J\u{9b}\u{2028}b\rc\r\n\td";
        let excerpt = Excerpt::new(text, []);
        assert_eq!(excerpt.text, "a?[2J\u{b7}\u{fffd}b?c\r\n\td");
        assert!((0..=text.len()).all(|at| excerpt.offset(at) == at));
    }

    #[test]
    fn every_place_of_a_cut_line_has_its_characters() {
        let text = format!("{}\r\n", "abcdefghij".repeat(100));
        for at in 0..=text.len() {
            for other in [0, 500, 1002] {
                let excerpt = Excerpt::new(&text, [at, other]);
                let here = excerpt.offset(at);
                assert_eq!(excerpt.text[here..].chars().next(), text[at..].chars().next(), "{at} {other}");
            }
        }
    }
}
