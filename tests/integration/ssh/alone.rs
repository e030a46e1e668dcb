//! The programs need nothing of the machine that they run on: no libc, no shell, no files.

use std::process::{Command, Output, Stdio};

use crate::support::{Host, Project, base_image, needs};

/// Imports an image with nothing in it, and runs one of the built programs there with an empty environment.
fn run_in_nothing(host: &Host, project: &Project, program: &str, arguments: &[&str]) -> Output {
    let image = format!("ffe-test/{}-nothing", host.app());
    let mut import = Command::new("docker");
    import.args(["import", "-", &image]).stdin(Stdio::from(empty_archive(project))).stdout(Stdio::null());
    assert!(import.status().expect("run docker import").success());
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--network", "none", "--name", &format!("{}-nothing", host.app())]);
    for binary in [env!("CARGO_BIN_EXE_ffe-deploy"), env!("CARGO_BIN_EXE_ffe-agent")] {
        let name = binary.rsplit('/').next().expect("a path has a name");
        command.args(["--volume", &format!("{binary}:/{name}:ro")]);
    }
    command.args(["--volume", &format!("{}:/project:ro", project.path().display()), "--entrypoint", program]);
    command.arg(&image).args(arguments).output().expect("run docker")
}

fn empty_archive(project: &Project) -> std::fs::File {
    let path = project.path().join("nothing.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&path).expect("make the archive"));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o1777);
    header.set_size(0);
    archive.append_data(&mut header, "tmp", std::io::empty()).expect("archive a directory");
    archive.finish().expect("end the archive");
    std::fs::File::open(path).expect("open the archive")
}

#[test]
fn the_built_programs_run_where_there_is_nothing_else() {
    needs!("docker");
    let (host, project) = (Host::local(), Project::without_git("shop"));
    project.file("compose.yaml", format!("services:\n  web: {{image: '{}'}}\n", base_image()));
    let said = |ended: &Output| {
        [&ended.stdout, &ended.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
    };
    let version = run_in_nothing(&host, &project, "/ffe-deploy", &["--version"]);
    assert_eq!(said(&version).trim(), format!("ffe-deploy {}", env!("CARGO_PKG_VERSION")));
    let agent = run_in_nothing(&host, &project, "/ffe-agent", &[]);
    assert!(agent.status.code() == Some(2) && said(&agent).contains("started by ffe-deploy"), "{agent:?}");
    let arguments =
        ["validate", "dev", "--host", "local", "--project-root", "/project", "--event-log", "/tmp/events"];
    let validated = run_in_nothing(&host, &project, "/ffe-deploy", &arguments);
    let told = said(&validated);
    assert!(validated.status.code() == Some(3) && told.contains("Docker is not installed"), "{told}");
}
