//! Rules on images and Dockerfiles.

use super::Rule;

pub(super) const RULES: &[Rule] = &[];
