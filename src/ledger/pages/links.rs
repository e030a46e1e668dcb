//! Links to what lies elsewhere: only to http and https, and to a commit only where the run's address says the repository.

use maud::{Markup, html};

use super::words::short;

/// Longest address that is linked.
const LONGEST: usize = 2000;

/// Returns an address when a browser may follow it: nothing else than http or https, and nothing that is read two ways.
pub(super) fn safe(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\`{}|^".contains(&byte);
    let has_host =
        rest.split(['/', '?', '#']).next().is_some_and(|host| !host.is_empty() && !host.contains('@'));
    (url.len() <= LONGEST && has_host && url.bytes().all(is_plain)).then_some(url)
}

/// Returns the repository's address in the address of a run of GitHub's (`…/OWNER/REPO/actions/runs/…`).
fn repository(ci_url: &str) -> Option<&str> {
    let (repository, _) = safe(ci_url)?.split_once("/actions/runs/")?;
    // Scheme, nothing, host, owner, name.
    (repository.split('/').count() == 5).then_some(repository)
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns a commit in short, linked when it is known where it lies.
pub(super) fn commit(commit: &str, ci_url: Option<&str>) -> Markup {
    let text = if is_commit(commit) { commit[..7].to_owned() } else { short(commit, 40) };
    match ci_url.and_then(repository).filter(|_| is_commit(commit)) {
        Some(repository) => {
            html! { a href={ (repository) "/commit/" (commit) } rel="noreferrer" { code { (text) } } }
        }
        None => html! { code { (text) } },
    }
}

/// Returns the link to what lies between two commits, when it is known where they lie.
pub(super) fn compare(before: &str, after: &str, ci_url: Option<&str>) -> Option<Markup> {
    let repository = ci_url.and_then(repository).filter(|_| is_commit(before) && is_commit(after))?;
    Some(
        html! { a href={ (repository) "/compare/" (before) "..." (after) } rel="noreferrer" { "Compare the commits" } },
    )
}

/// Returns the link to a job's run, or its address as text when it is none to follow.
pub(super) fn run(url: &str) -> Markup {
    match safe(url) {
        Some(url) => html! { a href=(url) rel="noreferrer" { "Open the run" } },
        None => html! { (short(url, 100)) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_can_be_read_one_way_are_linked() {
        for good in ["https://github.com/a/b/actions/runs/1", "http://ci.internal:8080/x?y=1#z"] {
            assert_eq!(safe(good), Some(good));
        }
        for bad in [
            "javascript:alert(1)",
            "https://",
            "https://a@evil",
            "data:text/html,x",
            "https://a/\"x",
            "//x",
            "https://a b",
        ] {
            assert_eq!(safe(bad), None, "{bad}");
        }
    }

    #[test]
    fn commits_are_linked_where_the_run_says_the_repository() {
        let run = Some("https://github.com/acme/shop/actions/runs/17");
        let (old, new) = ("0123abc", "fedcba9876543210");
        let link = compare(old, new, run).unwrap().into_string();
        assert!(
            link.contains("href=\"https://github.com/acme/shop/compare/0123abc...fedcba9876543210\""),
            "{link}"
        );
        assert!(commit(new, run).into_string().contains("/acme/shop/commit/fedcba9876543210"));
        assert!(
            compare(old, "main; rm", run).is_none() && compare(old, new, Some("https://ci/run/1")).is_none()
        );
        assert_eq!(commit(new, None).into_string(), "<code>fedcba9</code>");
    }
}
