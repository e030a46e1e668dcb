//! Words of a command that people paste into a shell.

/// Returns the word as a POSIX shell reads it back: as it is where nothing in it is special, else in single quotes.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_the_word() {
        for (word, written) in [
            ("deploy@shop.example.com:22", "deploy@shop.example.com:22"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's $(rm)", "'it'\\''s $(rm)'"),
            ("~", "'~'"),
        ] {
            assert_eq!(shell_word(word), written);
            let script = format!("printf %s {written}");
            let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout), word);
        }
    }
}
