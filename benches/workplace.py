"""A place of our own to measure in: a project, homes, an sshd on loopback, and an image; all of it goes at the end."""

import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time

COMPOSE = """\
services:
  {service}:
    image: {image}
    command: {command}
    stop_grace_period: 0s
    environment: {{ VERSION: "{version}" }}
    healthcheck: {{ test: [CMD, busybox, "true"], interval: 500ms }}
"""
SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {dir}/host_key
AuthorizedKeysFile {dir}/user_key.pub
PidFile none
SetEnv "HOME={home}" "PATH={path}"
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PrintMotd no
"""
SERVE = '[busybox, httpd, -f, -p, "8080"]'


class Workplace:
    """Directories and names that nobody else uses. Use it in a `with`."""

    def __init__(self, program, agents="", ledger=""):
        self.program, self.agents, self.ledger = str(program), str(agents), str(ledger)
        self.word = "ffe-bench-" + secrets.token_hex(4)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ffe-bench-"))
        self.home = self.dir / "home"
        self.sshd = None
        (self.home / ".docker").mkdir(parents=True)
        plugins = pathlib.Path(os.environ.get("DOCKER_CONFIG", pathlib.Path.home() / ".docker")) / "cli-plugins"
        if plugins.is_dir():
            (self.home / ".docker/cli-plugins").symlink_to(plugins)
        self.env = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def __enter__(self):
        context = self.dir / "image"
        context.mkdir()
        shutil.copy(shutil.which("busybox"), context / "busybox")
        (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/busybox\nENV PATH=/bin\n")
        self.check(["docker", "build", "-q", "-t", self.word, str(context)])
        return self

    def __exit__(self, *_):
        if self.sshd:
            self.sshd.terminate()
            self.sshd.wait()
        self.end_processes()
        for what, format, flags in (
            ("container", "{{.ID}} {{.Names}}", ["-f", "-v"]),
            ("network", "{{.ID}} {{.Name}}", []),
            ("volume", "{{.Name}} {{.Name}}", ["-f"]),
        ):
            every = ["-a"] if what == "container" else []
            listed = self.check(["docker", what, "ls", *every, "--format", format]).splitlines()
            mine = [line.split()[0] for line in listed if self.word in line]
            if mine:
                self.check(["docker", what, "rm", *flags, *mine])
        mine = [line for line in self.check(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).split() if self.word in line]
        if mine:
            self.check(["docker", "rmi", "-f", *mine])
        shutil.rmtree(self.dir, ignore_errors=True)

    def end_processes(self):
        """Ends what an interrupted deployment has left running: it has its home in here."""
        for process in self.processes():
            os.kill(process, signal.SIGKILL)

    def processes(self):
        """Ids of the processes that have their home in here."""
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if f"HOME={self.home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:
                pass
        return found

    def check(self, argv, env=None, wanted=0, **more):
        """Runs a program that must end with this status, and returns what it says."""
        env = {**self.env, **(env or {})}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, **more)
        if done.returncode != wanted:
            raise SystemExit(f"bench: {' '.join(map(str, argv))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def timed(self, argv, **more):
        """Seconds that a program that must succeed takes."""
        began = time.monotonic()
        self.check(argv, **more)
        return time.monotonic() - began

    def compose(self, command=SERVE, version="1", service="web"):
        """The text of a compose file for our image."""
        return COMPOSE.format(image=self.word, command=command, version=version, service=service)


class Project:
    """A git project with a compose file, deployed as `staging`."""

    def __init__(self, place, name, environment):
        self.place, self.dir = place, place.dir / name
        (self.dir / "deploy").mkdir(parents=True)
        (self.dir / "deployments.yaml").write_text(f"deployments:\n  {place.word}:\n    type: docker-compose\n")
        (self.dir / "environments.yaml").write_text(f"environments:\n  staging: {environment}\n")
        shutil.rmtree(self.dir / "deploy")
        self.git("init", "-q", "-b", "main")

    def git(self, *words):
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false"]
        return self.place.check(["git", "-C", str(self.dir), *identity, *words])

    def release(self, compose):
        """Commits a compose file."""
        (self.dir / "docker-compose.yml").write_text(compose)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "Release")

    def deploy(self, *words):
        """The command line of a deployment."""
        return self.words("deploy", *words)

    def words(self, verb, *words):
        """The command line of a verb."""
        return [self.place.program, verb, "staging", "--project-root", str(self.dir), *words]


class Host:
    """An sshd of our own on loopback, as the machine that is deployed to."""

    def __init__(self, place):
        self.place, self.dir = place, place.dir / "sshd"
        self.dir.mkdir()
        for name in ("host_key", "user_key"):
            place.check(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(self.dir / name)])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (self.dir / "config").write_text(
            SSHD.format(port=self.port, dir=self.dir, home=place.home, path=os.environ["PATH"])
        )
        sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        place.sshd = subprocess.Popen([sshd, "-D", "-e", "-f", str(self.dir / "config")], stderr=subprocess.PIPE)
        while b"Server listening" not in place.sshd.stderr.readline():
            if place.sshd.poll() is not None:
                raise SystemExit("bench: sshd does not start")

    def variables(self, port):
        """What a job that deploys to `staging` through this port is given."""
        key = " ".join((self.dir / "host_key.pub").read_text().split()[:2])
        return {
            "STAGING_HOST": "127.0.0.1",
            "STAGING_PORT": str(port),
            "STAGING_USER": self.place.check(["id", "-un"]).strip(),
            "STAGING_SSH_KEY": (self.dir / "user_key").read_text(),
            "STAGING_HOST_KEY": f"[127.0.0.1]:{port} {key}",
            "STAGING_ROOT": str(self.place.dir / "remote"),
        }

    def login(self, port):
        """Seconds until an `ssh` is logged in, and no channel is open yet."""
        control = self.dir / f"control-{secrets.token_hex(4)}"
        known = self.dir / f"known-{port}"
        known.write_text(self.variables(port)["STAGING_HOST_KEY"] + "\n")
        began = time.monotonic()
        options = [f"UserKnownHostsFile={known}", f"IdentityFile={self.dir}/user_key", "IdentitiesOnly=yes", "BatchMode=yes"]
        words = [word for option in options for word in ("-o", option)]
        ssh = subprocess.Popen(
            ["ssh", "-F", "none", "-M", "-N", "-S", str(control), "-p", str(port), *words, "127.0.0.1"],
            env=self.place.env, stderr=subprocess.DEVNULL,
        )
        while not control.exists():
            if ssh.poll() is not None:
                raise SystemExit("bench: no login over ssh")
            time.sleep(0.002)
        took = time.monotonic() - began
        ssh.terminate()
        ssh.wait()
        return took


class Engine:
    """Docker's API on its socket, without a process for each question."""

    def get(self, path):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect("/var/run/docker.sock")
        connection.request("GET", path)
        answer = json.load(connection.getresponse())
        connection.close()
        return answer

    def until_healthy(self, project):
        """Waits until every container of a project is healthy."""
        label = json.dumps({"label": [f"com.docker.compose.project={project}"]}).replace('"', "%22").replace(" ", "")
        while not all("(healthy)" in one["Status"] for one in self.get(f"/containers/json?filters={label}")):
            time.sleep(0.005)
