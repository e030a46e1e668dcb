//! Values inside of workflow commands (`::error file=…::message`): what the runner takes apart must be escaped.

/// Returns the text as the message of a command: several lines stay several lines, and none is a command.
pub fn command_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Returns the text as the value of a command's property, which also ends at `:` and `,`.
pub fn command_property(text: &str) -> String {
    command_data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the runner makes of it (actions/runner, `ActionCommand`).
    fn read_data(text: &str) -> String {
        text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
    }

    fn read_property(text: &str) -> String {
        let text = text.replace("%0D", "\r").replace("%0A", "\n");
        text.replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
    }

    proptest! {
        #[test]
        fn the_runner_reads_what_was_said_and_nothing_ends_the_command(text in "(?s)[%:,\r\n0-9ADC]{0,12}.{0,9}") {
            let (data, property) = (command_data(&text), command_property(&text));
            prop_assert!(!data.contains(['\r', '\n']));
            prop_assert!(!property.contains(['\r', '\n', ':', ',']));
            prop_assert_eq!(read_data(&data), text.clone());
            prop_assert_eq!(read_property(&property), text);
        }
    }
}
