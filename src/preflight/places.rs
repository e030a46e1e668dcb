//! Where in the project's files a finding belongs, so that people are led to the line.

use crate::model::{ComposeFile, Finding, Mark, Place, Severity};

/// Returns the findings with the places that are known of them; `files` and `marks` are what the runner has read.
pub fn located(findings: Vec<Finding>, files: &[ComposeFile], marks: &[Mark]) -> Vec<Finding> {
    let place = |finding: &Finding| {
        let is_asked = finding.place.is_none() && finding.severity != Severity::Passed;
        if is_asked { place_of(finding, files, marks) } else { None }
    };
    findings
        .into_iter()
        .map(|finding| {
            let place = place(&finding);
            finding.at(place)
        })
        .collect()
}

fn place_of(finding: &Finding, files: &[ComposeFile], marks: &[Mark]) -> Option<Place> {
    if finding.rule == "compose.model"
        && let Some(place) = files.iter().find_map(broken)
    {
        return Some(place);
    }
    if let Some(mark) = marks.iter().find(|mark| is_marked(finding, mark)) {
        return Some(mark.place.clone());
    }
    let is_meant = |service: &str| {
        finding.details.get("service").is_some_and(|named| named == service)
            || names(&finding.message, service)
    };
    let services = files.iter().flat_map(|file| file.services.iter().map(move |service| (file, service)));
    let mut meant = services.filter(|(_, (service, _))| is_meant(service));
    let meant = meant.next().map(|(file, (_, place))| at(file, *place));
    meant.or_else(|| (finding.rule == "compose.model").then(|| refused(finding, files)).flatten())
}

fn is_marked(finding: &Finding, mark: &Mark) -> bool {
    let service = finding.details.get("service").map(|service| format!("service `{service}`"));
    mark.rule == finding.rule
        && (finding.message.contains(&mark.words) || service.as_ref() == Some(&mark.words))
}

/// The service that Compose names in words of its own, such as `service web declares …`, when it can be only one; else
/// the file that it names.
fn refused(finding: &Finding, files: &[ComposeFile]) -> Option<Place> {
    let is_word = |word: &&str| !word.is_empty();
    let words =
        || finding.message.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')).filter(is_word);
    let mut named = files.iter().flat_map(|file| {
        let services = file.services.iter().filter(|(service, _)| words().any(|word| word == *service));
        services.map(move |(_, place)| at(file, *place))
    });
    match (named.next(), named.next()) {
        (Some(one), None) => Some(one),
        _ => {
            let file = files.iter().find(|file| finding.message.contains(&file.path))?;
            Some(Place { file: file.path.clone(), line: None, column: None })
        }
    }
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
        let place = located(vec![finding], files, &[]).remove(0).place?;
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

    #[test]
    fn what_compose_refuses_in_its_own_words_leads_to_the_only_service_or_the_file() {
        let place = |said: &str| {
            let finding = Finding::error("compose.model", said, "do");
            located(vec![finding], &files()[..1], &[]).remove(0).place.map(|place| (place.file, place.line))
        };
        let file = "compose.yml".to_owned();
        assert_eq!(place("service web-2 declares mutually exclusive keys"), Some((file.clone(), Some(9))));
        assert_eq!(place("compose.yml: web and web-2 do not agree"), Some((file, None)));
        assert_eq!(place("nothing is named"), None);
    }

    #[test]
    fn a_mark_leads_to_its_line_before_the_service_does() {
        let mark = |words: &str, line| {
            let place = Place { file: "deployments.yaml".into(), line: Some(line), column: Some(5) };
            Mark { rule: "env.required".into(), words: words.into(), place }
        };
        let marks = [mark("`A`", 4), mark("`B`", 5), mark("service `web`", 6)];
        let line = |finding: Finding| located(vec![finding], &files(), &marks).remove(0).place?.line;
        let of = |rule: &str, message: &str| Finding::error(rule, message, "do");
        assert_eq!(line(of("env.required", "missing: `B`, `A`")), Some(4));
        assert_eq!(line(of("env.required", "missing: `B`")), Some(5));
        assert_eq!(line(of("env.required", "services `x` and others").detail("service", "web")), Some(6));
        assert_eq!(line(of("env.file", "`A` is missing")), None);
    }
}
