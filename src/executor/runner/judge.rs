//! Whether what the host asks for is the project's: a host says what is built, but it must not reach for other files of
//! the runner, nor have them carried to a place that the project does not name.

use std::path::{Path, PathBuf};

use super::{Workshop, WorkshopError};
use crate::model::{BuildOrder, BuildSecret, reference};
use crate::text::harmless;

/// Refuses an order that is not the project's.
pub(super) fn judge(workshop: &Workshop<'_>, order: &BuildOrder) -> Result<(), WorkshopError> {
    let foreign =
        |what: String| WorkshopError::Foreign { image: harmless(&order.image), what: harmless(&what) };
    if order.image.starts_with('-') || !is_expected(workshop, &order.image) {
        let registry = reference::registry(&order.image);
        return Err(foreign(format!(
            "this project for {registry}, a registry that the project does not name"
        )));
    }
    let outside = |path: &str| foreign(format!("`{path}`, which does not lie in the project"));
    let context = place(workshop.app_dir, &order.context).ok_or_else(|| outside(&order.context))?;
    if let (Place::Here(context), Some(dockerfile)) = (&context, &order.dockerfile) {
        let inside = path_inside(workshop.app_dir, &context.join(dockerfile));
        inside.ok_or_else(|| outside(dockerfile))?;
    }
    for further in order.additional_contexts.values() {
        place(workshop.app_dir, further).ok_or_else(|| outside(further))?;
    }
    for secret in order.secrets.values() {
        if let BuildSecret::File(path) = secret {
            path_inside(workshop.app_dir, &workshop.app_dir.join(path)).ok_or_else(|| outside(path))?;
        }
    }
    Ok(())
}

/// Where a context is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A directory of the project, absolute.
    Here(PathBuf),
    /// The address of a repository, an archive or an image.
    Elsewhere(String),
}

impl Place {
    pub(super) fn as_argument(&self) -> String {
        match self {
            Self::Here(path) => path.display().to_string(),
            Self::Elsewhere(address) => address.clone(),
        }
    }
}

/// Returns where a context is, unless it is a path out of the project.
pub(super) fn place(app_dir: &Path, context: &str) -> Option<Place> {
    let schemes = ["://", "git@", "docker-image:", "oci-layout:", "target:", "service:"];
    if schemes.iter().any(|scheme| context.contains(scheme)) {
        return (!context.starts_with('-')).then(|| Place::Elsewhere(context.to_owned()));
    }
    path_inside(app_dir, &app_dir.join(context)).map(Place::Here)
}

/// Returns a path that lies in the app's directory, symlinks followed.
fn path_inside(app_dir: &Path, path: &Path) -> Option<PathBuf> {
    let (inside, app_dir) = (path.canonicalize().ok()?, app_dir.canonicalize().ok()?);
    inside.starts_with(app_dir).then_some(inside)
}

/// Returns whether the project names the registry of an image, or on Docker Hub its owner.
fn is_expected(workshop: &Workshop<'_>, image: &str) -> bool {
    let server = reference::registry(image);
    if server != reference::DOCKER_HUB && workshop.logins.iter().any(|login| login.server == server) {
        return true;
    }
    let familiar = reference::familiar(reference::repository(image));
    let wanted = match server {
        reference::DOCKER_HUB => familiar.split('/').next().unwrap_or(familiar),
        server => server,
    };
    let files = workshop.compose_files.iter();
    let mut texts = files.filter_map(|file| std::fs::read_to_string(workshop.app_dir.join(file)).ok());
    workshop.values.iter().any(|value| value.contains(wanted)) || texts.any(|text| text.contains(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::runner::plan::tests::workshop;

    #[test]
    fn paths_out_of_the_project_and_registries_that_it_does_not_name_are_refused() {
        let project = tempfile::tempdir().unwrap();
        std::fs::create_dir(project.path().join("web")).unwrap();
        std::fs::write(project.path().join("compose.yaml"), "image: ${REGISTRY:-ghcr.io}/o/web").unwrap();
        std::os::unix::fs::symlink("/etc", project.path().join("out")).unwrap();
        let workshop = workshop(project.path());
        let order = |image: &str, context: &str| BuildOrder {
            image: image.into(),
            context: context.into(),
            ..BuildOrder::default()
        };
        for (image, context) in [
            ("ghcr.io/o/web:1", "web"),
            ("ghcr.io/o/web:1", "."),
            ("ghcr.io/o/web:1", "https://example.com/o/web.git"),
            ("registry.example.com/web:1", "web"),
        ] {
            assert!(judge(&workshop, &order(image, context)).is_ok(), "{image} {context}");
        }
        for (image, context) in [
            ("evil.example/o/web:1", "web"),
            ("evil/web:1", "web"),
            ("ghcr.io/o/web:1", "/etc"),
            ("ghcr.io/o/web:1", ".."),
            ("ghcr.io/o/web:1", "out"),
            ("ghcr.io/o/web:1", "nowhere"),
            ("--push", "web"),
        ] {
            let error = judge(&workshop, &order(image, context)).unwrap_err();
            assert!(matches!(error, WorkshopError::Foreign { .. }), "{image} {context}");
        }
        let outside =
            BuildOrder { dockerfile: Some("../../etc/passwd".into()), ..order("ghcr.io/o/web:1", "web") };
        assert!(judge(&workshop, &outside).is_err());
        let secrets = [("k".to_owned(), BuildSecret::File("out/passwd".into()))].into();
        assert!(judge(&workshop, &BuildOrder { secrets, ..order("ghcr.io/o/web:1", "web") }).is_err());
    }
}
