//! References of images as people write them: `[registry/]repository[:tag][@digest]` (OCI distribution specification).

/// What `docker.io` is called in references that name no registry.
pub const DOCKER_HUB: &str = "docker.io";

/// Returns a reference without tag and digest.
pub fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    name[last..].find(':').map_or(name, |colon| &name[..last + colon])
}

/// Returns the registry that a reference names; Docker Hub when it names none.
pub fn registry(reference: &str) -> &str {
    match named_registry(reference) {
        Some("index.docker.io") | None => DOCKER_HUB,
        Some(registry) => registry,
    }
}

/// Returns whether a reference names a registry: its first part has a dot or a port, or is `localhost`.
/// (`postgres:16` and `org/app:1` are Docker Hub's short forms.)
pub fn names_registry(reference: &str) -> bool {
    named_registry(reference).is_some()
}

fn named_registry(reference: &str) -> Option<&str> {
    let first = reference.split_once('/')?.0;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

/// Returns a repository as Docker shows it: without the registry's name on Docker Hub, nor `library/`.
pub fn familiar(repository: &str) -> &str {
    let short = ["docker.io/", "index.docker.io/"].into_iter().find_map(|hub| repository.strip_prefix(hub));
    let short = short.unwrap_or(repository);
    short.strip_prefix("library/").unwrap_or(short)
}

/// Returns the reference of one exact image in the repository of another reference.
pub fn by_digest(reference: &str, digest: &str) -> String {
    format!("{}@{digest}", repository(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        for (reference, repo, registry_name) in [
            ("postgres:16", "postgres", "docker.io"),
            ("org/app", "org/app", "docker.io"),
            ("index.docker.io/org/app:1", "index.docker.io/org/app", "docker.io"),
            ("ghcr.io/org/app:1.2@sha256:aa", "ghcr.io/org/app", "ghcr.io"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app", "127.0.0.1:5000"),
            ("localhost/app:x", "localhost/app", "localhost"),
        ] {
            assert_eq!((repository(reference), registry(reference)), (repo, registry_name), "{reference}");
        }
        assert_eq!(by_digest("ghcr.io/org/app:1", "sha256:aa"), "ghcr.io/org/app@sha256:aa");
        assert_eq!(familiar("docker.io/library/nginx"), familiar("nginx"));
    }

    #[test]
    fn only_references_that_name_a_registry_are_asked_for_each_time() {
        for yes in ["ghcr.io/org/app:1", "127.0.0.1:5000/app", "localhost/app"] {
            assert!(names_registry(yes), "{yes}");
        }
        for no in ["postgres:16", "org/app:1", "app"] {
            assert!(!names_registry(no), "{no}");
        }
    }
}
