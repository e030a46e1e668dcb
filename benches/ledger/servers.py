"""Postgres and the two servers that are measured, each with what it would have in production, on loopback."""

import http.client
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).parent
STATE = pathlib.Path(os.environ.get("XDG_STATE_HOME", pathlib.Path.home() / ".local/state")) / "ffe-deploy-dev"
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def tree(process):
    """Ids of a process and of all that descend from it."""
    children = {}
    for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(file.parent.name))
    found = [process]
    for one in found:
        found += children.get(one, [])
    return found


class Server:
    """A process tree that can be asked what it has cost."""

    def start(self, argv, **more):
        self.log = open(self.dir / f"{self.name}.log", "ab")
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=self.log, start_new_session=True, **more)

    def cpu(self):
        """Seconds of processor, user and system, of the tree and of those in it that have ended."""
        total = 0
        for process in tree(self.process.pid):
            try:
                fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(map(int, fields[11:15]))
        return total / TICKS

    def memory(self, field="VmRSS"):
        """Megabytes of the tree: `VmRSS` is what is in memory now, `VmHWM` the most there was."""
        total = 0
        for process in tree(self.process.pid):
            for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1]) * 1024 / 1e6
        return total

    def ask(self, path, wanted=200):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != wanted:
            raise SystemExit(f"bench: {self.name} answers {answer.status} to {path}: {body[:300]!r}")
        return body

    def started_in(self):
        """Starts it, and returns the seconds until the first 200 of `/health`."""
        self.port = free_port()
        began = time.monotonic()
        self.serve()
        while True:
            try:
                self.ask("/health")
                return time.monotonic() - began
            except OSError:
                if self.process.poll() is not None or time.monotonic() - began > 60:
                    raise SystemExit(f"bench: {self.name} does not start: {self.log_tail()}") from None
                time.sleep(0.001)

    def log_tail(self):
        return (self.dir / f"{self.name}.log").read_text()[-2000:]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)
        self.log.close()


class Postgres(Server):
    """A real one with a directory of its own; commits are flushed to the disk, as by default."""

    name = "postgres"

    def __init__(self, place):
        self.dir = place.dir
        self.port = free_port()
        self.data = place.dir / "postgres"
        # It refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else None
        self.data.mkdir()
        if self.user:
            os.chown(self.data, pwd.getpwnam(self.user).pw_uid, pwd.getpwnam(self.user).pw_gid)
            self.dir.chmod(0o711)
        self.bin = program_dir()
        self.run("initdb", "-D", str(self.data), "-U", "bench", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 300,
            "shared_buffers": "1GB", "max_wal_size": "4GB",
        }
        words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self.start([str(self.bin / "postgres"), "-D", str(self.data), *words], user=self.user, cwd="/")
        until = time.monotonic() + 30
        while self.psql("postgres", "SELECT 1", check=False).returncode:
            if time.monotonic() > until:
                raise SystemExit(f"bench: Postgres does not start: {self.log_tail()}")
            time.sleep(0.05)

    def run(self, program, *words):
        done = subprocess.run([str(self.bin / program), *words], user=self.user, cwd="/", capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {program} ended with {done.returncode}\n{done.stdout}{done.stderr}")

    def psql(self, database, sql, check=True):
        """What a script prints, a row a line."""
        argv = [str(self.bin / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", database]
        done = subprocess.run(argv, input=sql, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise SystemExit(f"bench: psql ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def url(self, database, scheme="postgres"):
        return f"{scheme}://bench@127.0.0.1:{self.port}/{database}"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # does not wait for clients
            self.process.wait(timeout=60)
        self.log.close()


def program_dir():
    """Where Debian puts Postgres: not in PATH."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    if found:
        return found[-1].parent
    if shutil.which("initdb"):
        return pathlib.Path(shutil.which("initdb")).resolve().parent
    raise SystemExit("bench: no Postgres here: run `scripts/services bench`")


class Document(Server):
    """The document's own, under uvicorn with a worker for each core and its access log, which ours has, too."""

    name = "document"

    def __init__(self, place, postgres):
        self.dir, self.python = place.dir, environment_of_document() / "bin/python"
        self.env = {**place.env, "DATABASE_URL": postgres.url("library", "postgresql+psycopg2"), "PYTHONDONTWRITEBYTECODE": "1"}
        postgres.psql("postgres", "CREATE DATABASE library")
        place.check([str(self.python), "-m", "src.main"], env=self.env, cwd=HERE / "document")

    def serve(self):
        words = ["--port", str(self.port), "--workers", str(os.cpu_count()), "--loop", "uvloop", "--http", "httptools"]
        argv = [str(self.python), "-m", "uvicorn", "src.main:app", *words]
        self.start(argv, env=self.env, cwd=HERE / "document")


def environment_of_document():
    """A Python environment with exactly what requirements.txt names, kept in the state directory."""
    wanted = (HERE / "document/requirements.txt").read_text()
    environment = STATE / "ledger-document"
    mark = environment / "requirements.txt"
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run(["python3", "-m", "venv", str(environment)], check=True)
        pip = [str(environment / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "-r", str(HERE / "document/requirements.txt")], check=True)
        mark.write_text(wanted)
    return environment


class Ledger(Server):
    """Ours, with nothing but an address and a database."""

    name = "ledger"

    def __init__(self, place, postgres, program):
        self.dir, self.program = place.dir, program
        self.env = {**place.env, "FFE_LEDGER_DATABASE": postgres.url("ledger")}
        postgres.psql("postgres", "CREATE DATABASE ledger")
        self.started_in()
        self.stop()

    def serve(self):
        self.start([str(self.program), "serve", "--listen", f"127.0.0.1:{self.port}"], env=self.env)
