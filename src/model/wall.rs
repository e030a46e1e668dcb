//! What the clock on the wall says: for names and records only, never for a deadline (`host::clock` has those).

use jiff::Timestamp;

/// Returns the present time. A build with fault injection adds what a test makes the clock wrong by (`host::seam`).
pub fn wall() -> Timestamp {
    #[cfg(feature = "fault-injection")]
    return wrong();
    #[cfg(not(feature = "fault-injection"))]
    Timestamp::now()
}

/// `FFE_FAULT_CLOCK_S` seconds off, and those in the file that `FFE_FAULT_CLOCK_FILE` names.
#[cfg(feature = "fault-injection")]
fn wrong() -> Timestamp {
    let number = |text: String| text.trim().parse::<i64>().ok();
    let fixed = std::env::var("FFE_FAULT_CLOCK_S").ok().and_then(number);
    let file = std::env::var_os("FFE_FAULT_CLOCK_FILE").and_then(|path| std::fs::read_to_string(path).ok());
    let off_s = fixed.unwrap_or(0).saturating_add(file.and_then(number).unwrap_or(0));
    Timestamp::now().saturating_add(jiff::SignedDuration::from_secs(off_s)).unwrap_or(Timestamp::MAX)
}
