//! Where in the compose files a finding belongs, so that people are led to the line.

use crate::model::{ComposeFile, Finding, Place, Severity};

/// Returns the findings with the places that are known of them; `files` is what the runner has read.
pub fn located(findings: Vec<Finding>, files: &[ComposeFile]) -> Vec<Finding> {
    let place = |finding: &Finding| {
        let is_asked = finding.place.is_none() && finding.severity != Severity::Passed;
        if is_asked { place_of(finding, files) } else { None }
    };
    findings
        .into_iter()
        .map(|finding| {
            let place = place(&finding);
            finding.at(place)
        })
        .collect()
}

fn place_of(finding: &Finding, files: &[ComposeFile]) -> Option<Place> {
    if finding.rule == "compose.model"
        && let Some(place) = files.iter().find_map(broken)
    {
        return Some(place);
    }
    let is_meant = |service: &str| {
        finding.details.get("service").is_some_and(|named| named == service)
            || names(&finding.message, service)
    };
    let services = files.iter().flat_map(|file| file.services.iter().map(move |service| (file, service)));
    let mut meant = services.filter(|(_, (service, _))| is_meant(service));
    let (file, (_, place)) = meant.next()?;
    Some(at(file, *place))
}

fn broken(file: &ComposeFile) -> Option<Place> {
    file.broken_at.map(|place| at(file, place))
}

fn at(file: &ComposeFile, (line, column): (u32, u32)) -> Place {
    Place { file: file.path.clone(), line: Some(line), column: Some(column) }
}

/// Whether a message is about a service: in our words, or in those of Compose (`services.web.ports must be a list`).
fn names(message: &str, service: &str) -> bool {
    let ours = [format!("service `{service}`"), format!("service \"{service}\"")];
    let path = format!("services.{service}");
    let is_path = message.match_indices(&path).any(|(at, _)| {
        let next = message[at + path.len()..].chars().next();
        next.is_none_or(|c| !(c.is_alphanumeric() || c == '-' || c == '_'))
    });
    is_path || ours.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<ComposeFile> {
        let services = [("web".to_owned(), (3, 3)), ("web-2".to_owned(), (9, 3))].into();
        let base = ComposeFile { path: "compose.yml".into(), services, ..ComposeFile::default() };
        vec![
            base,
            ComposeFile { path: "other.yml".into(), broken_at: Some((4, 7)), ..ComposeFile::default() },
        ]
    }

    fn line_of(finding: Finding, files: &[ComposeFile]) -> Option<(String, u32)> {
        let place = located(vec![finding], files).remove(0).place?;
        Some((place.file, place.line?))
    }

    #[test]
    fn findings_about_a_service_lead_to_it_and_broken_yaml_to_where_it_breaks() {
        let line = |number| Some(("compose.yml".to_owned(), number));
        let finding = |message: &str| Finding::error("compose.x", message, "do");
        assert_eq!(line_of(finding("it").detail("service", "web-2"), &files()), line(9));
        assert_eq!(line_of(finding("service `web` is built here"), &files()), line(3));
        assert_eq!(line_of(finding("services.web-2.ports must be a list"), &files()), line(9));
        assert_eq!(
            line_of(finding("service \"web\" has neither an image nor a build context"), &files()),
            line(3)
        );
        assert_eq!(line_of(finding("services.website is unknown"), &files()), None);
        assert_eq!(line_of(Finding::passed("compose.x", "service `web` is fine"), &files()), None);
        let broken = Finding::error("compose.model", "yaml: line 4", "do");
        assert_eq!(line_of(broken.clone(), &files()), Some(("other.yml".to_owned(), 4)));
        assert_eq!(line_of(broken, &files()[..1]), None);
    }
}
