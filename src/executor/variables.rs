//! Variables of a release: the layers of the job, and the host's own file between them (DESIGN section 6).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use zeroize::Zeroize;

use crate::config::envfile::{self, EnvFileError};
use crate::model::{ErrorKind, FailureReport, Variables};
use crate::text::Redactor;

/// Names that serve interpolation only, and are left out of rendered env files: else Postgres would be recreated at
/// each deploy.
const INTERPOLATION_ONLY: [&str; 3] = ["VERSION", "REGISTRY", "IMAGE_TAG"];

/// Variables of a release, resolved. Holds secrets: not printable.
#[derive(Clone, Default)]
pub struct Resolved {
    /// All of them.
    pub values: BTreeMap<String, String>,
    /// Names of those that are secrets.
    pub secrets: BTreeSet<String>,
}

impl Drop for Resolved {
    fn drop(&mut self) {
        self.values.values_mut().for_each(Zeroize::zeroize);
    }
}

/// Why the host's own env file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VariablesError {
    /// It cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not an env file.
    #[error("{} is not a file of variables: {source}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where it is wrong; quotes no value.
        source: EnvFileError,
    },
}

impl VariablesError {
    /// Returns the failure with its next step.
    pub fn report(&self) -> FailureReport {
        let hint = "correct the file on the host; one NAME=value a line";
        FailureReport::new(ErrorKind::ConfigurationError, "env.host-file", self.to_string()).hint(hint)
    }
}

impl Resolved {
    /// Resolves the layers; `host_file` counts only where it exists.
    ///
    /// # Errors
    /// The host's file cannot be read or parsed.
    pub fn of(layers: &Variables, host_file: Option<&Path>) -> Result<Self, VariablesError> {
        let mut values = layers.below_host.clone();
        let mut secrets = layers.secret_names.clone();
        if let Some(path) = host_file.filter(|path| path.exists()) {
            let host = read(path)?;
            secrets.extend(host.keys().filter(|name| crate::config::looks_secret(name)).cloned());
            values.extend(host);
        }
        values.extend(layers.above_host.clone());
        Ok(Self { values, secrets })
    }

    /// Reads the variables of an earlier release back.
    ///
    /// # Errors
    /// The file cannot be read or parsed.
    pub fn of_release(env: &Path, secrets: &[String]) -> Result<Self, VariablesError> {
        Ok(Self { values: read(env)?, secrets: secrets.iter().cloned().collect() })
    }

    /// Returns a redactor of the secrets among them.
    pub fn redactor(&self) -> Redactor {
        Redactor::new(self.secret_values())
    }

    /// Returns the values of the secrets.
    pub fn secret_values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter(|(name, _)| self.secrets.contains(*name)).map(|(_, value)| value.as_str())
    }

    /// Returns the file that Compose reads them from.
    pub fn env_file(&self) -> String {
        envfile::render(&self.values)
    }

    /// Returns the file that stands in for a service's missing `.env`.
    pub fn service_env_file(&self) -> String {
        let mut values = self.values.clone();
        values.retain(|name, _| !INTERPOLATION_ONLY.contains(&name.as_str()));
        envfile::render(&values)
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, VariablesError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| VariablesError::Read { path: path.to_owned(), source })?;
    let lines = envfile::parse(&text, &BTreeMap::new());
    let lines = lines.map_err(|source| VariablesError::Parse { path: path.to_owned(), source })?;
    Ok(lines.into_iter().map(|line| (line.name, line.value)).collect())
}
