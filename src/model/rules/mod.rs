//! The catalogue of rules: what each check before a deployment looks at, why, and how to mend what it finds.
//!
//! Enter by [`find`] or [`all`]. The prose is for the runner and for `docs/rules/`, which [`page`] makes; the agent knows
//! nothing but ids, so nothing that runs on a host may call this module (its binary travels to every host).

mod backup;
mod compose;
mod config;
mod docker;
mod host;
mod image;
pub mod page;
mod release;
mod secrets;

use super::{Profile, Severity};

/// What a rule is about; the groups of `validate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Docker and Compose on the machine that deploys.
    Docker,
    /// Files, variables and what the configuration says.
    Config,
    /// The machine itself: room, ports, clock, who owns what.
    Host,
    /// What the compose files say.
    Compose,
    /// Images and the Dockerfiles that they are made of.
    Image,
    /// Where secrets lie, and who can read them.
    Secrets,
    /// What runs already, and what comes after it.
    Release,
    /// What the backup before the switch could not hold as it should.
    Backup,
}

impl Group {
    /// All of them, in the order of `validate`.
    pub const ALL: [Self; 8] = [
        Self::Docker,
        Self::Config,
        Self::Host,
        Self::Compose,
        Self::Image,
        Self::Secrets,
        Self::Release,
        Self::Backup,
    ];

    /// Returns the word that `validate` shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Config => "config",
            Self::Host => "host",
            Self::Compose => "compose",
            Self::Image => "image",
            Self::Secrets => "secrets",
            Self::Release => "release",
            Self::Backup => "backup",
        }
    }
}

/// How much a finding of a rule weighs, by the profile of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// An error in every profile.
    Error,
    /// A warning in every profile.
    Warning,
    /// An error in staging and production, a warning in dev and testing.
    Strict,
    /// A warning in staging and production, not looked for in dev and testing.
    Mild,
    /// It depends on more than the profile: on what, in words.
    Judged(&'static str),
}

impl Weight {
    /// Returns the severity in a profile; nothing where the rule is not looked for, or where the profile alone does not
    /// decide.
    pub fn in_profile(self, profile: Profile) -> Option<Severity> {
        let is_strict = matches!(profile, Profile::Staging | Profile::Production);
        match self {
            Self::Error => Some(Severity::Error),
            Self::Warning => Some(Severity::Warning),
            Self::Strict if is_strict => Some(Severity::Error),
            Self::Strict => Some(Severity::Warning),
            Self::Mild if is_strict => Some(Severity::Warning),
            Self::Mild | Self::Judged(_) => None,
        }
    }

    /// Returns it in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error in every profile",
            Self::Warning => "warning in every profile",
            Self::Strict => "error in staging and production, warning in dev and testing",
            Self::Mild => "warning in staging and production, not looked for in dev and testing",
            Self::Judged(words) => words,
        }
    }
}

/// Something that breaks a rule, or keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// The project's `docker-compose.yml`.
    Compose(&'static str),
    /// `deployments.yaml`.
    Deployments(&'static str),
    /// `environments.yaml`.
    Environments(&'static str),
    /// The project's `Dockerfile`.
    Dockerfile(&'static str),
    /// What somebody typed, or would see.
    Console(&'static str),
    /// A state of the machine, in words.
    Words(&'static str),
}

/// Whether the configuration may silence a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// With a reason.
    May,
    /// Never; the reason completes "cannot be silenced: …".
    Never(&'static str),
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Stable id, such as `compose.healthcheck`; a public promise.
    pub id: &'static str,
    /// What it is about.
    pub group: Group,
    /// What it wants, in one line.
    pub title: &'static str,
    /// What is looked at.
    pub looks_at: &'static str,
    /// What would go wrong.
    pub why: &'static str,
    /// What to do.
    pub mend: &'static str,
    /// How much it weighs.
    pub weight: Weight,
    /// What breaks it.
    pub breaks: Example,
    /// What keeps it.
    pub keeps: Example,
    /// Whether it may be silenced.
    pub silence: Silence,
}

impl Rule {
    /// Returns the address of its page.
    pub fn url(&self) -> String {
        format!("{}/blob/main/docs/rules/{}.md", env!("CARGO_PKG_REPOSITORY"), self.id)
    }
}

/// Returns every rule, group by group.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    let groups = [
        docker::RULES,
        config::RULES,
        host::RULES,
        compose::RULES,
        image::RULES,
        secrets::RULES,
        release::RULES,
        backup::RULES,
    ];
    groups.into_iter().flatten()
}

/// Returns the rule of this id.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_rule_has_an_id_of_its_own_and_says_everything() {
        let mut seen = BTreeSet::new();
        for rule in all() {
            assert!(seen.insert(rule.id), "{} is there twice", rule.id);
            let parts: Vec<&str> = rule.id.split('.').collect();
            let is_word = |part: &&str| part.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            assert!(parts.len() == 2 && parts.iter().all(is_word), "{}", rule.id);
            for text in [rule.title, rule.looks_at, rule.why, rule.mend] {
                assert!(!text.trim().is_empty() && !text.contains("  "), "{}: {text:?}", rule.id);
            }
            assert!(!rule.title.ends_with('.') && rule.title.len() < 90, "{}: {}", rule.id, rule.title);
        }
    }

    #[test]
    fn rules_stand_in_the_file_of_their_group_in_the_order_of_validate() {
        let groups: Vec<Group> = all().map(|rule| rule.group).collect();
        assert!(groups.is_sorted());
    }

    #[test]
    fn production_and_staging_are_strict() {
        let of = |weight: Weight| {
            [Profile::Production, Profile::Staging, Profile::Testing, Profile::Dev]
                .map(|profile| weight.in_profile(profile))
        };
        let (error, warning) = (Some(Severity::Error), Some(Severity::Warning));
        assert_eq!(of(Weight::Strict), [error, error, warning, warning]);
        assert_eq!(of(Weight::Mild), [warning, warning, None, None]);
    }
}
