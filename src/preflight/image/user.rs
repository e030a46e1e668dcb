//! `image.user`: nobody's service runs as root, by name or by number (R003-52).

use super::known::{Known, Shelf};
use super::{Made, Subject, Written};
use crate::model::dockerfile::{Image, aliases_of_root, is_root};
use crate::model::{Finding, Profile};
use crate::preflight::listed;
use crate::text::harmless;

const RULE: &str = "image.user";
/// A user that every image can have, also one without /etc/passwd.
const NOBODYS: &str = "10001:10001";

pub(super) fn check(subject: &Subject<'_>, made: &[Made<'_>], shelf: &Shelf) -> Vec<Finding> {
    let found: Vec<Finding> = made.iter().filter_map(|made| judge(subject, made, shelf)).collect();
    if found.is_empty() { vec![nothing(subject, made, shelf)] } else { found }
}

/// Says what was not looked at, too.
fn nothing(subject: &Subject<'_>, made: &[Made<'_>], shelf: &Shelf) -> Finding {
    let is_asked = !matches!(subject.environment.profile, Profile::Dev | Profile::Testing);
    let unknown = |made: &&Made<'_>| {
        is_asked && made.source().is_none() && made.service.user.is_none() && made.known(shelf).is_none()
    };
    let unknown: Vec<_> = made.iter().filter(unknown).map(|made| made.name).collect();
    let told = match unknown.as_slice() {
        [] => "no service runs as root".to_owned(),
        names => format!(
            "no service runs as root, as far as is known; not on this host yet: the images of {}",
            listed(names)
        ),
    };
    Finding::passed(RULE, told)
}

fn judge(subject: &Subject<'_>, made: &Made<'_>, shelf: &Shelf) -> Option<Finding> {
    let known = made.known(shelf);
    if let Some(user) = &made.service.user {
        let is_root = is_root_here(user, made, known);
        return is_root.then(|| written_in_compose(subject, made, user)).flatten();
    }
    match (made.source(), made.is_built) {
        (Some(written), _) => of_dockerfile(subject, made, written, known),
        (None, false) => of_image(subject, made, known?),
        // Built from somewhere else: nobody here knows its Dockerfile.
        (None, true) => None,
    }
}

/// By itself, or because the Dockerfile or the image's history gives that name the id 0.
fn is_root_here(user: &str, made: &Made<'_>, known: Option<&Known>) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    let built = made.source().into_iter().filter_map(|written| written.image.as_ref());
    let mut aliases = built.flat_map(|image| image.aliases_of_root.iter());
    is_root(user)
        || aliases.any(|alias| alias == name)
        || known.is_some_and(|known| known.aliases_of_root().iter().any(|alias| alias == name))
}

impl Known {
    fn aliases_of_root(&self) -> Vec<String> {
        self.history.iter().flat_map(|layer| aliases_of_root(layer)).collect()
    }

    /// What a build on top of it starts as: `ONBUILD USER` runs first there.
    fn user_of_builds(&self) -> &str {
        let mut later =
            self.on_build.iter().rev().filter_map(|line| line.trim().split_once(char::is_whitespace));
        let user = later.find(|(keyword, _)| keyword.eq_ignore_ascii_case("USER"));
        user.map_or(&self.user, |(_, user)| user.trim())
    }
}

fn written_in_compose(subject: &Subject<'_>, made: &Made<'_>, user: &str) -> Option<Finding> {
    let message = format!("service `{}` runs as root: its `user:` is `{}`", made.name, harmless(user));
    let hint = format!(
        "name a user without rights in the compose file: `user: \"{NOBODYS}\"`, or take `user:` away where the image has one"
    );
    made.finding(subject, RULE, message, hint)
}

fn of_dockerfile(
    subject: &Subject<'_>,
    made: &Made<'_>,
    written: &Written,
    base: Option<&Known>,
) -> Option<Finding> {
    // A stage that is not there is for Docker to refuse.
    let image = written.image.as_ref()?;
    let file = written.shown(subject);
    let (why, line) = match &image.user {
        Some(user) => match &user.value {
            None => (format!("`USER` in {file}:{} is a variable without a value", user.line), user.line),
            Some(value) if is_root_here(value, made, base) => {
                (format!("{file}:{} says `USER {}`", user.line, harmless(value)), user.line)
            }
            Some(_) => return None,
        },
        // A build of something else, or of a service beside it: nobody here knows what that is.
        None if made.starts_elsewhere => return None,
        None => (without_user(&file, image, base)?, image.line),
    };
    let message = format!("service `{}` is built here and runs as root: {why}", made.name);
    let finding = made.finding(subject, RULE, message, lines_to_paste(&file, image, made.name))?;
    Some(finding.at(written.place(subject, line)))
}

/// What the base image is decides, where it is known.
fn without_user(file: &str, image: &Image, base: Option<&Known>) -> Option<String> {
    let stage = image.stage.as_ref().map(|stage| format!("stage `{}`", harmless(stage)));
    let stage = stage.unwrap_or_else(|| "the last stage".to_owned());
    let none = format!("{stage} of {file} has no `USER`");
    match (base, image.base.as_deref()) {
        (Some(base), _) if !is_root(base.user_of_builds()) => None,
        (Some(_), Some(name)) => Some(format!("{none}, and `{}` is root", harmless(name))),
        (None, Some("scratch")) | (_, None) => Some(none),
        (None, Some(name)) => {
            Some(format!("{none}, and `{}` is not on this host to say another", harmless(name)))
        }
    }
}

/// The lines of the documents (R003-06), or a number where there is nothing to make users with.
fn lines_to_paste(file: &str, image: &Image, service: &str) -> String {
    let stage =
        image.stage.as_ref().map(|stage| format!(" of stage `{}`", harmless(stage))).unwrap_or_default();
    let lines = match image.base.as_deref() {
        Some("scratch") | None => format!("`USER {NOBODYS}`"),
        Some(base) if base.contains("alpine") => {
            "`RUN addgroup -S appgroup && adduser -S -G appgroup appuser` and `USER appuser`".to_owned()
        }
        Some(_) => {
            "`RUN groupadd -r appgroup && useradd -r -g appgroup appuser` and `USER appuser`".to_owned()
        }
    };
    format!(
        "put into {file}, as the last lines before `CMD`{stage}: {lines} (what it writes to must be that user's: \
         `COPY --chown`); or, without a build, give service `{service}` in the compose file `user: \"{NOBODYS}\"`"
    )
}

fn of_image(subject: &Subject<'_>, made: &Made<'_>, known: &Known) -> Option<Finding> {
    if !is_root_here(&known.user, made, Some(known)) {
        return None;
    }
    let image = harmless(made.decisive().unwrap_or_default());
    let said = match known.user.as_str() {
        "" => "its configuration names no user".to_owned(),
        user => format!("its user is `{}`", harmless(user)),
    };
    let message = format!("service `{}` starts as root: image `{image}`, {said}", made.name);
    let hint = format!(
        "give the service a user in the compose file, `user: \"{NOBODYS}\"`, or take a variant of the image that is made for \
         that; where its start script gives up root by itself, silence `{RULE}` with that reason"
    );
    made.finding(subject, RULE, message, hint)
}
