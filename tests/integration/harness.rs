//! The harness itself, tried against the real things that it wraps.
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::{
    Act, Counter, Host, Machine, Project, SecondEngine, Shim, Sshd, SshdOptions, User, Web, alive,
    assert_gapless, base_image, free_port, get, needs, output, post, request_at, shop_binary, until,
};

const SOON: Duration = Duration::from_secs(20);

/// A container of the base image, published at a port; removed with `host`, whose name it carries.
fn start_shop(host: &Host, arguments: &[&str]) -> u16 {
    let port = free_port();
    let (name, publish) = (format!("{}-{port}", host.app()), format!("127.0.0.1:{port}:8000"));
    let image = base_image();
    host.docker(&[&["run", "-d", "--name", &name, "-p", &publish], arguments, &[image.as_str()]].concat());
    until(SOON, "an answer of the shop", || get(port, "/health").is_some());
    port
}

#[test]
fn container_of_the_base_image_answers() {
    needs!("docker");
    let host = Host::local();
    let port = start_shop(&host, &["-e", "VERSION=1.2.3", "-e", "GREETING=hello"]);
    assert_eq!(host.get(port, "/health").status, 200);
    assert_eq!(host.get(port, "/version").body, "1.2.3");
    assert_eq!(host.get(port, "/env/GREETING").body, "hello");
    assert_eq!(host.get(port, "/env/NOTHING").status, 404);
    assert!(host.get(port, "/file?/etc/passwd").body.contains("shop:"));
    assert_eq!(post(port, "/data", "kept").map(|answer| answer.status), Some(200));
    assert_eq!(host.get(port, "/data").body, "kept");
}

#[test]
fn shop_is_as_unwell_as_its_mode_says() {
    needs!("docker");
    let host = Host::local();
    assert_eq!(host.get(start_shop(&host, &["-e", "MODE=unhealthy"]), "/health").status, 500);
    let slow = start_shop(&host, &["-e", "MODE=slow", "-e", "SLOW_MS=300"]);
    until(SOON, "the slow shop", || get(slow, "/health").is_some_and(|answer| answer.status == 200));
    let exits =
        Command::new("docker").args(["run", "--rm", "-e", "MODE=exit:7", &base_image()]).output().unwrap();
    assert_eq!(exits.status.code(), Some(7));
}

#[test]
fn shop_stops_at_once_when_told_to() {
    needs!("docker");
    let host = Host::local();
    start_shop(&host, &[]);
    let id = host.docker(&["ps", "-q", "--filter", &format!("name={}", host.app())]);
    host.docker(&["stop", "-t", "60", id.trim()]);
    assert_eq!(host.docker(&["inspect", "-f", "{{.State.ExitCode}}", id.trim()]).trim(), "0");
}

#[test]
fn services_of_a_compose_project_find_each_other_and_are_gone_after_the_test() {
    needs!("docker");
    let (app, port) = {
        let host = Host::local();
        let port = free_port();
        let project = Project::new("shop");
        project.file(
            "docker-compose.yml",
            format!(
                "services:\n  backend: {{image: '{0}', environment: {{VERSION: '7'}}, volumes: ['kept:/data']}}\n  \
                 frontend: {{image: '{0}', environment: {{UPSTREAM: 'backend:8000'}}, ports: ['127.0.0.1:{port}:8000']}}\n\
                 volumes: {{kept: }}\n",
                base_image()
            ),
        );
        let mut up = host.command("docker");
        output(up.args(["compose", "-p", host.app(), "up", "-d"]).current_dir(project.path()));
        until(SOON, "the backend through the frontend", || {
            get(port, "/api/version").is_some_and(|answer| answer.body == "7")
        });
        assert_eq!(host.containers(host.app(), "backend").len(), 1);
        (host.app().to_owned(), port)
    };
    for list in [&["ps", "-a"][..], &["volume", "ls"], &["network", "ls"]] {
        assert!(!output(Command::new("docker").args(list)).contains(&app));
    }
    assert_eq!(get(port, "/"), None);
}

#[test]
fn project_is_a_repository_of_its_own() {
    let project = Project::new("shop");
    project.file("config/shop.yaml", "version: 1.0.0\n").env_file("staging", &[("PORT", "8080")]);
    let first = project.commit("First");
    project.remove("config").executable("scripts/smoke.sh", "#!/bin/sh\n");
    assert_ne!(project.commit("Second"), first);
    assert_eq!(project.git(&["ls-files"]), "scripts/smoke.sh\n");
    assert_eq!(project.git(&["log", "-1", "--format=%an <%ae>"]), "Test <test@example.com>\n");
    assert_eq!(std::fs::read_to_string(project.path().join(".env.staging")).unwrap(), "PORT='8080'\n");
}

#[test]
fn ports_are_given_once() {
    let mut ports: Vec<_> = (0..50).map(|_| free_port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 50);
}

#[test]
fn ssh_gets_in_and_is_counted() {
    needs!("sshd");
    let sshd = Sshd::start();
    assert_eq!(
        output(sshd.ssh().arg("echo hello; echo $HOME")),
        format!("hello\n{}\n", sshd.home().display())
    );
    let (connections, sessions) = (sshd.connections(), sshd.sessions());
    output(sshd.ssh().arg("true"));
    assert_eq!((sshd.connections(), sshd.sessions()), (connections + 1, sessions + 1));
    assert!(sshd.fingerprint().starts_with("SHA256:"));
    let encrypted = sshd.private_key_with_passphrase("open sesame");
    assert!(encrypted.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") && encrypted != sshd.private_key());
}

#[test]
fn ssh_refuses_a_changed_host_key_and_a_wrong_key() {
    needs!("sshd");
    let mut sshd = Sshd::start();
    let mut with_old_key = sshd.ssh();
    let old_line = sshd.host_key_line();
    sshd.change_host_key();
    assert_ne!(sshd.host_key_line(), old_line);
    let refused = with_old_key.arg("true").output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("HOST IDENTIFICATION HAS CHANGED"));
    std::fs::write(sshd.private_key_file(), sshd.another_key()).unwrap();
    let refused = sshd.ssh().arg("true").output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Permission denied"));
}

#[test]
fn what_a_session_leaves_running_outlives_a_cut_but_not_the_sshd() {
    needs!("sshd");
    let left = {
        let sshd = Sshd::start();
        let told = output(sshd.ssh().arg("setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!"));
        let left: u32 = told.trim().parse().unwrap();
        let mut hanging = sshd.ssh().arg("sleep 1000").stderr(Stdio::null()).spawn().unwrap();
        let sessions = sshd.sessions();
        until(SOON, "the hanging session", || {
            sshd.sessions() > sessions || sshd.log().contains("sleep 1000")
        });
        sshd.cut_sessions();
        assert_eq!(hanging.wait().unwrap().code(), Some(255));
        assert!(alive(left));
        output(sshd.ssh().arg("true"));
        left
    };
    assert!(!alive(left));
}

#[test]
fn another_user_logs_in_without_rights_to_docker() {
    needs!("sshd", "docker", "root");
    let user = User::create(&[]);
    let sshd = Sshd::start_with(&SshdOptions { user: Some(&user), ..Default::default() });
    assert_eq!(
        output(sshd.ssh().arg("id -un; pwd")),
        format!("{}\n{}\n", user.name(), user.home().display())
    );
    let refused = sshd.ssh().arg("docker version").output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("permission denied"));
}

#[test]
fn another_user_of_the_group_docker_has_compose_too() {
    needs!("sshd", "docker", "root");
    let user = User::create(&["docker"]);
    let sshd = Sshd::start_with(&SshdOptions { user: Some(&user), ..Default::default() });
    output(sshd.ssh().arg("docker version && docker compose version"));
}

#[test]
fn shim_records_calls_and_runs_the_real_program() {
    needs!("docker", "sshd");
    let shim = Shim::docker();
    let sshd = Sshd::start_with(&SshdOptions { path_first: vec![shim.path()], ..Default::default() });
    let told = output(sshd.ssh().arg("docker version --format '{{.Server.Os}}'"));
    assert_eq!(told, "linux\n");
    assert_eq!(shim.calls(), [["docker", "version", "--format", "{{.Server.Os}}"]]);
    assert_eq!((shim.count(&["version"]), shim.count(&["--format", "version"])), (1, 0));
}

#[test]
fn shim_spoils_the_calls_that_it_is_told_to() {
    let shim = Shim::new();
    shim.fake("tool", "echo \"real $*\"").on_first(2, &["compose", "up"], &Act::Fail(17, "it's no good"));
    shim.on(&["info"], &Act::Print("{}"));
    let host = Host::local().with_path_first(shim.path());
    let call = |arguments: &[&str]| host.command(shim.path().join("tool")).args(arguments).output().unwrap();
    for _ in 0..2 {
        let spoiled = call(&["compose", "-p", "x y", "up"]);
        assert_eq!((spoiled.status.code(), spoiled.stderr.as_slice()), (Some(17), &b"it's no good\n"[..]));
    }
    assert_eq!(call(&["compose", "-p", "x y", "up"]).stdout, b"real compose -p x y up\n");
    assert_eq!(call(&["up", "compose"]).stdout, b"real up compose\n");
    assert_eq!(call(&["info"]).stdout, b"{}\n");
    shim.heal();
    assert_eq!(call(&["info"]).stdout, b"real info\n");
    assert_eq!(shim.calls()[0], ["tool", "compose", "-p", "x y", "up"]);
    assert_eq!(shim.calls().len(), 6);
}

#[test]
fn shim_holds_a_call_until_it_is_released() {
    let shim = Shim::new();
    shim.fake("tool", "echo done").on(&["up"], &Act::Hold);
    let call = Command::new(shim.path().join("tool")).arg("up").stdout(Stdio::piped()).spawn().unwrap();
    until(SOON, "the call", || shim.count(&["up"]) == 1);
    assert!(alive(call.id()));
    shim.release();
    assert_eq!(call.wait_with_output().unwrap().stdout, b"done\n");
}

#[test]
fn web_answers_one_status_after_the_other_and_remembers_the_requests() {
    let web = Web::start();
    web.on("/health", &[503, 503, 200]);
    let statuses: Vec<_> =
        (0..4).filter_map(|_| get(web.port(), "/health?deep=1")).map(|answer| answer.status).collect();
    assert_eq!(statuses, [503, 503, 200, 200]);
    post(web.port(), "/hook", "{\"text\":\"hello\"}");
    let last = web.requests().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.path.as_str(), last.body.as_str()),
        ("POST", "/hook", "{\"text\":\"hello\"}")
    );
    assert_eq!(web.requests()[0].path, "/health?deep=1");
}

#[test]
fn second_engine_is_killed_alone_and_comes_back_with_its_containers() {
    needs!("docker", "dockerd");
    let mut engine = SecondEngine::start();
    let port = free_port();
    let image = base_image();
    engine.docker(&["network", "create", "lonely"]);
    let publish = format!("127.0.0.1:{port}:8000");
    engine.docker(&[
        "run",
        "-d",
        "--name",
        "shop",
        "--network",
        "lonely",
        "--restart",
        "always",
        "-p",
        &publish,
        &image,
    ]);
    until(SOON, "its container", || get(port, "/health").is_some());
    engine.kill();
    let elsewhere = ["run", "--rm", "--network", "bridge", &image, "echo", "unharmed"];
    assert_eq!(output(Command::new("docker").args(elsewhere)), "unharmed\n");
    engine.start_again();
    until(SOON, "its container after the kill", || get(port, "/health").is_some());
    assert_eq!(engine.docker(&["ps", "--format", "{{.Names}}"]), "shop\n");
}

#[test]
fn binary_runs_in_an_environment_of_its_own() {
    let host = Host::local().with_env("GREETING", "hello");
    let told = output(&mut host.command("env"));
    let names: Vec<_> = told.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.contains(&"GREETING") && names.contains(&"XDG_STATE_HOME") && !names.contains(&"CARGO"));
    assert!(told.contains(&format!("HOME={}", host.home().display())));
    host.run_bare(host.dir(), &["--help"]).exits(0);
}

#[test]
#[should_panic(expected = "a gap in the events of agent")]
fn gap_in_the_events_of_an_origin_is_found() {
    let event = |origin: &str, seq: u64| json!({"origin": origin, "seq": seq});
    assert_gapless(&[event("agent", 1), event("runner", 1), event("agent", 2), event("agent", 4)]);
}

#[test]
fn shop_for_build_contexts_is_a_static_program() {
    let told = Command::new("ldd").arg(shop_binary()).output().unwrap();
    let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.contains("statically linked") || told.contains("not a dynamic executable"), "{told}");
}

#[test]
fn a_machine_is_cut_off_killed_and_started_again_and_keeps_its_disks() {
    needs!("machine");
    let mut machine = Machine::start();
    let image = base_image();
    machine.docker(&["run", "-d", "--restart", "always", "-p", "8000:8000", "-v", "data:/data", &image]);
    let answers = || request_at(machine.address(8000), "GET", "/health", "").is_ok();
    until(SOON, "an answer of the shop", answers);
    let counter = Counter::start(machine.address(8000), 0);
    until(SOON, "ten numbers", || counter.so_far().acknowledged >= 10);
    machine.cut();
    assert!(!listens(&machine), "the connection of SSH is cut");
    machine.heal();
    assert!(listens(&machine));
    machine.does(&["fill"]);
    let file = machine.seen_from_here(&machine.root_base()).join("file");
    assert!(std::fs::write(&file, "more").is_err(), "the disk is not full");
    machine.does(&["free"]);
    std::fs::write(&file, "more").unwrap();
    machine.does(&["end-engine", "KILL"]);
    machine.start_engine();
    machine.kill();
    machine.start_again();
    let before = counter.so_far().acknowledged;
    until(SOON, "more numbers", || counter.so_far().acknowledged > before + 10);
    assert_eq!(counter.lost(), Some(Vec::new()));
    assert_eq!(
        std::fs::read_to_string(machine.seen_from_here(&machine.root_base()).join("file")).unwrap(),
        "more"
    );
}

fn listens(machine: &Machine) -> bool {
    std::net::TcpStream::connect_timeout(&machine.address(22), Duration::from_secs(1)).is_ok()
}
