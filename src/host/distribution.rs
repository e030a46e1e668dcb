//! Which Linux this machine runs, and how one installs Docker and Compose on it.

use std::path::Path;

/// What `/etc/os-release` says, reduced to what install lines depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID`, then the words of `ID_LIKE`.
    ids: Vec<String>,
    /// `VERSION_ID`, such as `12` or `24.04`.
    version: String,
}

impl Distribution {
    /// Returns this machine's, or an unknown one.
    pub fn of_this_machine() -> Self {
        let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok();
        let text = read("/etc/os-release").or_else(|| read("/usr/lib/os-release"));
        Self::parse(&text.unwrap_or_default())
    }

    /// Returns what a text of the form of os-release(5) says.
    pub fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
        };
        let (id, like) = (value("ID"), value("ID_LIKE"));
        let ids = std::iter::once(id.as_str()).chain(like.split_whitespace());
        let ids = ids.filter(|id| !id.is_empty()).map(str::to_owned).collect();
        Self { ids, version: value("VERSION_ID") }
    }

    /// Returns the order by which Compose v2 is installed here.
    pub fn install_compose(&self) -> String {
        let line = match self.family() {
            // Debian has v2 since 13; before, its `docker-compose` is v1.
            Family::Debian if self.major() >= 13 => "sudo apt-get install docker-compose",
            Family::Ubuntu => "sudo apt-get install docker-compose-v2",
            Family::Debian => {
                return "add Docker's package source (https://docs.docker.com/engine/install/debian/), then \
                        `sudo apt-get install docker-compose-plugin`"
                    .to_owned();
            }
            Family::Fedora => "sudo dnf install docker-compose",
            Family::RedHat => {
                return "add Docker's package source (https://docs.docker.com/engine/install/rhel/), then \
                        `sudo dnf install docker-compose-plugin`"
                    .to_owned();
            }
            Family::Suse => "sudo zypper install docker-compose",
            Family::Arch => "sudo pacman -S docker-compose",
            Family::Alpine => "sudo apk add docker-cli-compose",
            Family::Unknown => {
                return "install the plugin as https://docs.docker.com/compose/install/linux/ says"
                    .to_owned();
            }
        };
        format!("install Compose v2: `{line}`")
    }

    /// Returns the order by which Docker is installed here.
    pub fn install_docker(&self) -> String {
        let line = match self.family() {
            Family::Debian | Family::Ubuntu => "sudo apt-get install docker.io",
            Family::Fedora => "sudo dnf install moby-engine",
            Family::Suse => "sudo zypper install docker",
            Family::Arch => "sudo pacman -S docker",
            Family::Alpine => "sudo apk add docker",
            Family::RedHat | Family::Unknown => {
                return "install Docker as https://docs.docker.com/engine/install/ says".to_owned();
            }
        };
        format!("install Docker: `{line}`")
    }

    fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default()
    }

    /// The first word that is known; a derivative's own version says nothing of its parent's.
    fn family(&self) -> Family {
        let known = self.ids.iter().find_map(|id| match id.as_str() {
            "ubuntu" => Some(Family::Ubuntu),
            "debian" | "raspbian" => Some(Family::Debian),
            "fedora" => Some(Family::Fedora),
            "rhel" | "centos" | "rocky" | "almalinux" | "ol" => Some(Family::RedHat),
            "opensuse" | "suse" | "sles" | "opensuse-leap" | "opensuse-tumbleweed" => Some(Family::Suse),
            "arch" => Some(Family::Arch),
            "alpine" => Some(Family::Alpine),
            _ => None,
        });
        known.unwrap_or(Family::Unknown)
    }
}

enum Family {
    Debian,
    Ubuntu,
    Fedora,
    RedHat,
    Suse,
    Arch,
    Alpine,
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distribution_gets_its_own_install_line() {
        for (text, wanted) in [
            ("ID=debian\nVERSION_ID=\"12\"\n", "sudo apt-get install docker-compose-plugin"),
            ("ID=debian\nVERSION_ID=\"13\"\n", "sudo apt-get install docker-compose`"),
            ("NAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n", "docker-compose-v2"),
            ("ID=pop\nID_LIKE=\"ubuntu debian\"\n", "docker-compose-v2"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.3\"", "engine/install/rhel"),
            ("ID=fedora\n", "sudo dnf install docker-compose"),
            ("ID=alpine\n", "docker-cli-compose"),
            ("", "https://docs.docker.com/compose/install/linux/"),
        ] {
            let line = Distribution::parse(text).install_compose();
            assert!(line.contains(wanted), "{text:?} → {line}");
        }
    }
}
