//! Text from outside as a terminal may show it.

/// `text` with everything that a terminal would obey shown as an escape, on one line.
pub(super) fn plain(text: &str) -> String {
    escaped(text, |_| false)
}

/// Like [`plain`], but line ends and tabs stay: for bodies.
pub(super) fn plain_lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let obeyed = c.is_control() || is_direction(c);
        if obeyed && !keep(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

/// Characters that change the direction of the text around them (Unicode TR9).
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}]0;x\u{7}\r\u{202e}b"), "a\\u{1b}]0;x\\u{7}\\r\\u{202e}b");
        assert_eq!(plain("ç 日本 🙂"), "ç 日本 🙂");
        assert_eq!(plain_lines("a\r\n\tb\u{1b}\\t"), "a\\r\n\tb\\u{1b}\\t");
    }
}
