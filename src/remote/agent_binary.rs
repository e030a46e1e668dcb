//! The agent as a program to bring along: built in for each architecture, or the one beside this executable.
//!
//! Enter by [`Agents::found`]. Where it goes on a host, `ssh` knows; where on this machine, [`AgentBinary::here`].

use std::borrow::Cow;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::RemoteError;

/// Architecture as `uname -m` says it, the digest of the program, and the compressed program.
type BuiltIn = (&'static str, &'static str, &'static [u8]);
static BUILT_IN: &[BuiltIn] = include!(concat!(env!("OUT_DIR"), "/agents.rs"));

/// One agent, for one architecture.
#[derive(Clone, Debug)]
pub struct AgentBinary {
    arch: String,
    sha256: String,
    program: Program,
}

#[derive(Clone, Debug)]
enum Program {
    Gz(Cow<'static, [u8]>),
    File(PathBuf),
}

impl AgentBinary {
    /// Takes the program in a file, which is for `arch` (as `uname -m` says it) and is used in place on this machine.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn file(arch: &str, path: &Path) -> io::Result<Self> {
        let sha256 = digest_of(File::open(path)?)?;
        Ok(Self { arch: arch.to_owned(), sha256, program: Program::File(path.to_owned()) })
    }

    /// Takes a program compressed by gzip, and the digest of what is in it, which is checked where the program arrives.
    pub fn compressed(arch: &str, sha256: &str, gz: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { arch: arch.to_owned(), sha256: sha256.to_owned(), program: Program::Gz(gz.into()) }
    }

    /// Returns the architecture, as `uname -m` says it.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// Returns the digest of the uncompressed program, in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns the program compressed by gzip.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn gz(&self) -> io::Result<Cow<'_, [u8]>> {
        match &self.program {
            Program::Gz(gz) => Ok(Cow::Borrowed(gz)),
            Program::File(path) => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                io::copy(&mut File::open(path)?, &mut encoder)?;
                Ok(Cow::Owned(encoder.finish()?))
            }
        }
    }

    /// Returns the program as it is.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn plain(&self) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        match &self.program {
            Program::Gz(gz) => GzDecoder::new(&gz[..]).read_to_end(&mut plain)?,
            Program::File(path) => File::open(path)?.read_to_end(&mut plain)?,
        };
        Ok(plain)
    }

    /// Returns a path on this machine from which it can be started, its digest just checked: its own file, or a copy
    /// in the first directory of the user's own where programs may run.
    ///
    /// # Errors
    /// No such directory, or the copy cannot be written.
    pub fn here(&self) -> Result<PathBuf, RemoteError> {
        if let Program::File(path) = &self.program {
            return Ok(path.clone());
        }
        let mut tried = Vec::new();
        for directory in own_directories() {
            match self.placed_in(&directory) {
                Ok(path) => return Ok(path),
                Err(error) => tried.push(format!("{}: {error}", directory.display())),
            }
        }
        Err(RemoteError::NoExecutableDirectory { host: "local".to_owned(), tried: tried.join("; ") })
    }

    fn placed_in(&self, directory: &Path) -> io::Result<PathBuf> {
        own_directory(directory)?;
        let path = directory.join(format!("ffe-agent-{}", self.sha256));
        if self.is_at(&path) {
            return Ok(path);
        }
        let new = directory.join(format!(".upload-{}-{}", self.sha256, std::process::id()));
        let written = self.write_to(&new).and_then(|()| std::fs::rename(&new, &path));
        if written.is_err() {
            std::fs::remove_file(&new).ok();
        }
        written.map(|()| path)
    }

    fn is_at(&self, path: &Path) -> bool {
        let own = path.symlink_metadata().is_ok_and(|meta| {
            meta.is_file() && meta.uid() == user() && meta.permissions().mode() & 0o700 == 0o700
        });
        own && File::open(path).and_then(digest_of).is_ok_and(|found| found == self.sha256)
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o700).open(path)?;
        file.write_all(&self.plain()?)?;
        file.set_permissions(Permissions::from_mode(0o700))?;
        file.sync_all()
    }
}

/// The agents that there are, one an architecture.
#[derive(Clone, Debug)]
pub struct Agents(Vec<AgentBinary>);

impl Agents {
    /// Returns those built in, else the `ffe-agent` beside this executable; for a test, beside the directory of its executable.
    /// A built-in one whose like lies beside the executable is used from there.
    ///
    /// # Errors
    /// There is neither.
    pub fn found() -> Result<Self, RemoteError> {
        static FOUND: OnceLock<Agents> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let beside = beside_this_program().map_err(RemoteError::here("finding the own executable"))?;
        let sibling = AgentBinary::file(std::env::consts::ARCH, &beside);
        let mut agents = Vec::new();
        for (arch, sha256, gz) in BUILT_IN {
            let agent = AgentBinary::compressed(arch, sha256, *gz);
            let same = sibling.as_ref().ok().filter(|sibling| sibling.sha256 == agent.sha256);
            agents.push(same.cloned().unwrap_or(agent));
        }
        if agents.is_empty() {
            agents.push(sibling.map_err(|_| RemoteError::NoAgent { looked: beside })?);
        }
        Ok(FOUND.get_or_init(|| Self(agents)).clone())
    }

    /// Returns just these.
    pub fn these(agents: Vec<AgentBinary>) -> Self {
        Self(agents)
    }

    /// Returns all of them.
    pub fn all(&self) -> &[AgentBinary] {
        &self.0
    }

    /// Returns the one for an architecture, as `uname -m` says it.
    ///
    /// # Errors
    /// There is none for it; `host` is named.
    pub fn for_arch(&self, arch: &str, host: &str) -> Result<&AgentBinary, RemoteError> {
        self.0.iter().find(|agent| agent.arch == arch).ok_or_else(|| RemoteError::WrongArchitecture {
            host: host.to_owned(),
            found: arch.to_owned(),
            available: self.0.iter().map(AgentBinary::arch).collect::<Vec<_>>().join(", "),
        })
    }
}

fn beside_this_program() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut directory = own.parent().unwrap_or(Path::new("/"));
    if directory.ends_with("deps") && !directory.join("ffe-agent").is_file() {
        directory = directory.parent().unwrap_or(directory);
    }
    Ok(directory.join("ffe-agent"))
}

/// Cache, data and run directories of the user, as on a host (see `ssh::ship`).
fn own_directories() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("HOME");
    let or_home = |name: &str, below: &str| variable(name).or_else(|| Some(home.as_ref()?.join(below)));
    let named = [
        or_home("XDG_CACHE_HOME", ".cache"),
        or_home("XDG_DATA_HOME", ".local/share"),
        variable("XDG_RUNTIME_DIR"),
    ];
    let named = named.into_iter().flatten().map(|directory| directory.join("ffe-deploy"));
    named.chain([PathBuf::from(format!("/var/tmp/ffe-deploy-{}", user()))]).collect()
}

/// Makes sure that a directory is the user's own, closed to others, and lets programs run.
fn own_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let meta = directory.symlink_metadata()?;
    if !meta.is_dir() || meta.uid() != user() {
        return Err(io::Error::other("is not a directory of this user's own"));
    }
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    if no_programs_in(directory) {
        return Err(io::Error::other("lies on a file system mounted noexec"));
    }
    Ok(())
}

/// Returns whether a directory is mounted noexec.
pub(super) fn no_programs_in(directory: &Path) -> bool {
    rustix::fs::statvfs(directory)
        .is_ok_and(|about| about.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

pub(super) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn digest_of(mut program: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        match program.read(&mut block)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&block[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn agent() -> AgentBinary {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"abc").unwrap();
        AgentBinary::compressed("x86_64", ABC, encoder.finish().unwrap())
    }

    #[test]
    fn a_program_is_known_by_its_digest_in_a_file_and_packed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "abc").unwrap();
        let plain = AgentBinary::file("x86_64", file.path()).unwrap();
        assert_eq!((plain.sha256(), agent().sha256()), (ABC, ABC));
        assert_eq!((plain.plain().unwrap(), agent().plain().unwrap()), (b"abc".to_vec(), b"abc".to_vec()));
    }

    #[test]
    fn a_copy_is_written_once_and_replaced_when_its_bytes_are_not_right() {
        let above = tempfile::tempdir().unwrap();
        let directory = above.path().join("ffe-deploy");
        let path = agent().placed_in(&directory).unwrap();
        assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let first = path.metadata().unwrap().ino();
        assert_eq!(agent().placed_in(&directory).unwrap().metadata().unwrap().ino(), first);
        std::fs::write(&path, "evil").unwrap();
        agent().placed_in(&directory).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    }

    #[test]
    fn a_directory_that_is_a_symbolic_link_is_not_used() {
        let above = tempfile::tempdir().unwrap();
        let link = above.path().join("ffe-deploy");
        std::os::unix::fs::symlink(above.path(), &link).unwrap();
        assert!(agent().placed_in(&link).is_err());
    }

    #[test]
    fn an_architecture_without_an_agent_is_named_with_those_that_have_one() {
        let error = Agents::these(vec![agent()]).for_arch("riscv64", "shop").unwrap_err();
        let said = "`shop` is a riscv64 machine, and this ffe-deploy brings the agent for x86_64";
        assert_eq!(error.to_string(), said);
    }
}
