//! Hides the job's secrets in everything that the runner shows from then on, also what other steps print.
//!
//! The second wall: what this program prints has its secrets replaced already. The runner obeys a mask only for lines
//! that it reads after it, and reads stdout and stderr on their own, so a stream must have its masks before anything
//! else.

use super::commands;
use crate::text::Redactor;

/// Returns the commands that hide every form of these secrets, one a line.
pub fn lines(secrets: &Redactor) -> String {
    let forms = secrets.forms().filter(|form| !form.trim().is_empty());
    forms.map(|form| format!("{}\n", commands::mask(form))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_with_its_encodings_and_each_of_its_lines() {
        let key = "-----BEGIN-----\nb3BlbnNzaC1rZXk/+\n   \nab\n-----END-----";
        let lines = lines(&Redactor::new([key, "100% sure"]));
        for wanted in [
            "::add-mask::b3BlbnNzaC1rZXk/+\n",
            "::add-mask::-----BEGIN-----%0Ab3BlbnNzaC1rZXk/+%0A   %0Aab%0A-----END-----\n",
            "::add-mask::b3BlbnNzaC1rZXk%252F%252B\n",
            "::add-mask::100%25 sure\n",
            "::add-mask::MTAwJSBzdXJl\n",
        ] {
            assert!(lines.contains(wanted), "{wanted} is not in {lines}");
        }
        assert!(
            !lines.contains("::add-mask::ab\n") && !lines.lines().any(|line| line.trim() == "::add-mask::")
        );
        assert!(lines.lines().all(|line| line.starts_with("::add-mask::")));
    }
}
