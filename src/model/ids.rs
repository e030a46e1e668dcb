//! Names and ids that cannot be wrong: checked once, when they are made.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a name or an id is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a {what}: {accepted}")]
pub struct NameError {
    what: &'static str,
    found: String,
    accepted: &'static str,
}

/// Makes a string newtype whose only constructor checks `$valid`.
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $accepted:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    return Ok(Self(text.to_owned()));
                }
                let found = text.chars().take(80).filter(|c| !c.is_control()).collect();
                Err(NameError { what: $what, found, accepted: $accepted })
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

/// What Compose accepts as a project name, so that an app's name can be one (Compose specification, `name`).
fn is_project_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 63
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && text.bytes().any(|b| b != b'.')
}

checked_name! {
    /// Name of an app: a key of `deployments`.
    AppName, "name of an app", "1 to 63 of a-z 0-9 - _, starting with a letter or a digit", is_project_name
}
checked_name! {
    /// Name of an environment: a key of `environments`.
    EnvironmentName, "name of an environment",
    "1 to 63 of a-z 0-9 - _, starting with a letter or a digit", is_project_name
}
checked_name! {
    /// Id of one run of the pipeline: `deploy-YYYYMMDDHHmmss-xxxxxxxx` unless given (C01).
    DeploymentId, "deployment id", "1 to 64 of A-Z a-z 0-9 . _ -, not only dots", is_id
}
checked_name! {
    /// Id of a release: the id of the deployment that first brought it.
    ReleaseId, "release id", "1 to 64 of A-Z a-z 0-9 . _ -, not only dots", is_id
}
checked_name! {
    /// Groups everything that belongs to one run of a workflow; 1 to 128 printable characters.
    CorrelationId, "correlation id", "1 to 128 printable ASCII characters without spaces",
    |text| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl DeploymentId {
    /// Returns a new id: the UTC second, and the first eight hex digits of a random UUID (C01).
    pub fn generate() -> Self {
        let now = super::wall().strftime("%Y%m%d%H%M%S");
        let random = Uuid::new_v4().simple().to_string();
        Self(format!("deploy-{now}-{}", &random[..8]))
    }
}

impl From<&DeploymentId> for ReleaseId {
    fn from(id: &DeploymentId) -> Self {
        Self(id.0.clone())
    }
}

impl CorrelationId {
    /// Returns a random id (R003-18).
    pub fn generate() -> Self {
        Self(Uuid::new_v4().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_have_the_documented_form_and_differ_within_a_second() {
        let (one, two) = (DeploymentId::generate(), DeploymentId::generate());
        assert_ne!(one, two);
        let parts: Vec<&str> = one.as_str().split('-').collect();
        assert_eq!((parts[0], parts[1].len(), parts[2].len()), ("deploy", 14, 8));
        assert!(one.as_str().parse::<DeploymentId>().is_ok());
    }

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<DeploymentId>().is_err(), "{bad:?}");
            assert!(bad.parse::<AppName>().is_err(), "{bad:?}");
        }
    }
}
