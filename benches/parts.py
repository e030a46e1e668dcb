"""What is measured. Each part is one section of docs/performance.md, and gives its rows: what, value, limit, within it."""

import gzip
import pathlib
import platform
import random
import re
import shutil
import statistics
import time

from memory import Peaks
from proxy import Proxy
from workplace import SERVE, Engine, Host, Project

PARTS = {}
LOCAL = "{{host: local, root: '{}'}}"
REMOTE = "{host: '${STAGING_HOST}', root: '${STAGING_ROOT}'}"
# Milliseconds that one direction is delayed where round trips are counted.
DELAY = 250
BUNDLE_MB = 200


def part(title):
    """Names a part."""

    def add(function):
        PARTS[title] = function
        return function

    return add


def row(what, value, unit, limit):
    """One measured value; smaller is better."""
    shown = f"{value:.{0 if value >= 100 else 2}f}"
    return {"what": what, "value": f"{shown} {unit}".strip(), "limit": f"{limit} {unit}".strip(), "within": value <= limit}


def fact(what, value):
    """A value that has no limit, for comparison."""
    return {"what": what, "value": value, "limit": "", "within": True}


def middle(values):
    return statistics.median(values)


def milliseconds(values):
    return f"{middle(values) * 1000:.0f} ms"


@part("A local deploy beside `docker compose up -d`")
def local_deploy(place, repeat):
    """In turns, the same change to the same app: by Compose, then waiting until it is healthy; by ffe-deploy; again, unchanged."""
    plain, engine = place.dir / "plain", Engine()
    plain.mkdir()
    project = Project(place, "shop", LOCAL.format(place.dir / "srv"))
    compose, deploy, again = [], [], []
    for number in range(repeat + 1):
        (plain / "docker-compose.yml").write_text(place.compose(version=number, service="plain"))
        began = time.monotonic()
        place.check(["docker", "compose", "-p", place.word + "-plain", "up", "-d"], cwd=plain)
        engine.until_healthy(place.word + "-plain")
        compose.append(time.monotonic() - began)
        project.release(place.compose(version=number))
        deploy.append(place.timed(project.deploy()))
        again.append(place.timed(project.deploy()))
    # The first of each kind makes networks and warms caches.
    compose, deploy, again = compose[1:], deploy[1:], again[1:]
    more = middle([ours - theirs for ours, theirs in zip(deploy, compose)]) * 1000
    return [
        fact("`docker compose up -d` until healthy", milliseconds(compose)),
        fact("`ffe-deploy deploy`", f"{milliseconds(deploy)}, {middle(deploy) / middle(compose):.2f} times as long"),
        row("what ffe-deploy adds", more, "ms", 400),
        row("a deploy of what already runs, in all", middle(again) * 1000, "ms", 700),
    ]


@part("Start of the program")
def start(place, repeat):
    times = [place.timed([place.program, "--version"]) for _ in range(repeat * 5)]
    nothing = [place.timed(["true"]) for _ in range(repeat * 5)]
    return [row("`ffe-deploy --version`", middle(times) * 1000, "ms", 10), fact("`true`, for comparison", f"{middle(nothing) * 1000:.1f} ms")]


@part("Round trips over SSH")
def round_trips(place, repeat):
    """The same through a proxy that does not delay and one that delays each direction: the difference is what is waited for.
    Of each the shortest time counts, since a busy machine can only add. That of a login alone, up to the moment when a
    channel can be opened, is taken off."""
    host = Host(place)
    project = Project(place, "far", REMOTE)
    quick, slow = Proxy(host.port), Proxy(host.port, DELAY / 1000)
    kinds = ("deploy", "validate", "login")
    took = {(kind, proxy): [] for kind in kinds for proxy in (quick, slow)}
    for number in range(repeat + 1):
        for proxy in (quick, slow):
            for kind in kinds[:2]:
                project.release(place.compose(version=f"{number} {proxy.delay} {kind}"))
                took[kind, proxy].append(place.timed(project.words(kind), env=host.variables(proxy.port)))
            took["login", proxy].append(host.login(proxy.port))

    def trips(kind):
        # The first deploy brings the agent.
        return (min(took[kind, slow][1:]) - min(took[kind, quick][1:])) * 1000 / (2 * DELAY)

    def times(kind):
        return f"{milliseconds(took[kind, quick][1:])}; {milliseconds(took[kind, slow][1:])}"

    login = trips("login")
    return [
        fact(f"a deploy; with {2 * DELAY} ms a round trip", times("deploy")),
        fact(f"a validate; with {2 * DELAY} ms a round trip", times("validate")),
        fact("round trips of a login", f"{login:.1f}"),
        row("round trips of a deploy beyond it", round(trips("deploy") - login), "", 8),
        row("round trips of a validate beyond it", round(trips("validate") - login), "", 3),
    ]


@part("A local validate beside Docker's own answers")
def local_validate(place, repeat):
    """In turns: what Compose takes to read the model, which is the longest of Docker's answers, and a validate, which asks
    them all beside each other."""
    project = Project(place, "looked", LOCAL.format(place.dir / "srv-looked"))
    project.release(place.compose())
    answers, validate = [], []
    for _ in range(repeat + 1):
        answers.append(place.timed(["docker", "compose", "config", "--format", "json"], cwd=project.dir))
        validate.append(place.timed(project.words("validate")))
    more = middle([ours - theirs for ours, theirs in zip(validate[1:], answers[1:])]) * 1000
    return [
        fact("`docker compose config --format json`", milliseconds(answers[1:])),
        fact("`ffe-deploy validate`", f"{milliseconds(validate[1:])}, {middle(validate[1:]) / middle(answers[1:]):.2f} times as long"),
        row("what ffe-deploy adds", more, "ms", 300),
    ]


@part("A bundle of 200 MB over SSH, and memory")
def bundle(place, repeat):
    """Brought once, then releases in which only the compose file is another. The service writes 200,000 lines of log; the
    last release is never healthy, so that the log is asked for and the one before comes back."""
    host = Host(place)
    proxy = Proxy(host.port)
    project = Project(place, "large", REMOTE)
    noise, files = random.Random(1), 2000
    (project.dir / "assets").mkdir()
    for number in range(files):
        (project.dir / f"assets/{number:05}.bin").write_bytes(noise.randbytes(BUNDLE_MB * 1_000_000 // files))
    talk = "[busybox, sh, -c, 'busybox yes a line of a talkative service | busybox head -n 200000; exec busybox sleep 1000']"
    rows, peaks, sent = [], {}, []
    for number in range(4):
        is_last = number == 3
        compose = place.compose(command=talk, version=f"large{number}")
        project.release(compose.replace('"true"', '"false"') if is_last else compose)
        before = proxy.passed
        began = time.monotonic()
        with Peaks(place) as watched:
            place.check(project.deploy(), env=host.variables(proxy.port), wanted=4 if is_last else 0)
        sent.append((proxy.passed - before, time.monotonic() - began))
        for name, mb in watched.mb.items():
            peaks[name] = max(peaks.get(name, 0), mb)
    rows.append(fact("the first time", f"{sent[0][0] / 1e6:.0f} MB in {sent[0][1]:.1f} s"))
    rows.append(fact("when it is unchanged", f"{sent[2][1]:.1f} s"))
    rows.append(row(f"then on the wire, for {files} files", sent[2][0] / 1000, "kB", files // 2))
    rows += [row(f"largest memory of `{name}`", mb, "MB", 40) for name, mb in sorted(peaks.items())]
    return rows


@part("Memory during a backup")
def backup(place, repeat):
    """200 MB of data that survives releases, saved before the switch."""
    data = place.dir / "srv-backup" / place.word / "staging/shared/data"
    data.mkdir(parents=True)
    (data / "store").write_bytes(random.Random(2).randbytes(BUNDLE_MB * 1_000_000))
    project = Project(place, "saved", LOCAL.format(place.dir / "srv-backup"))
    (project.dir / "deployments.yaml").write_text(
        f"deployments:\n  {place.word}:\n    type: docker-compose\n    backup: {{ paths: [data] }}\n"
    )
    environment = project.dir / "environments.yaml"
    environment.write_text(environment.read_text().replace("}", ", backup: true}"))
    peaks = {}
    for number in range(2):
        project.release(place.compose(version=f"saved{number}"))
        with Peaks(place) as watched:
            place.check(project.deploy())
        for name, mb in watched.mb.items():
            peaks[name] = max(peaks.get(name, 0), mb)
    return [row(f"largest memory of `{name}`", mb, "MB", 150) for name, mb in sorted(peaks.items())]


@part("The action, warm")
def action(place, repeat):
    """Both steps with the program in the runner's tool cache: what they take until they become the program."""
    scripts, cache = pathlib.Path(__file__).parent.parent / "scripts/action", place.dir / "tools"
    manifest = (scripts.parent.parent / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.*)"$', manifest, re.M).group(1)
    kept = cache / f"ffe-deploy/org+ffe-deploy/{version}-{platform.machine()}-unknown-linux-gnu"
    kept.mkdir(parents=True)
    shutil.copy(place.program, kept / "ffe-deploy")
    (kept / "ffe-deploy.sha256").write_text(place.check(["sha256sum", "ffe-deploy"], cwd=kept))
    runner = {"RUNNER_TOOL_CACHE": str(cache), "FFE_ACTION_REPOSITORY": "org/ffe-deploy", "GITHUB_OUTPUT": str(cache / "output")}
    install, become = [], []
    for _ in range(repeat):
        install.append(place.timed([scripts / "install.sh"], env=runner))
        become.append(place.timed([scripts / "run.sh"], env={"FFE_BINARY": shutil.which("true"), "FFE_INPUT_ENVIRONMENT": "staging"}))
    both = [one + other for one, other in zip(install, become)]
    return [row("what the action adds", middle(both) * 1000, "ms", 1000)]


@part("Sizes")
def sizes(place, repeat):
    """What `scripts/build` has made."""
    packed = list((pathlib.Path(place.agents)).glob("*/ffe-agent.gz"))
    agents = sum(file.stat().st_size for file in packed)
    rows = []
    for file in packed:
        rows.append(row(f"the agent, {file.parent.name}", len(gzip.decompress(file.read_bytes())) / 1e6, "MB", 6))
        rows.append(row(f"the agent on the wire, {file.parent.name}", file.stat().st_size / 1e6, "MB", 3))
    program = pathlib.Path(place.program).stat().st_size
    return [*rows, row("the program without its agents", (program - agents) / 1e6, "MB", 25)]
