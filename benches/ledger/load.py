"""Requests as fast as they are answered, by wrk on one thread: what they took, and what they cost whom."""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import time

SCRIPT = pathlib.Path(__file__).parent / "load.lua"
CONNECTIONS = 32


class Round:
    """What one run of wrk against one server has shown."""

    def __init__(self, server, postgres, kind, ids, seconds, seed, connections=CONNECTIONS):
        before, began = (server.cpu(), postgres.cpu()), wrk_cpu()
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT), f"http://127.0.0.1:{server.port}"]
        done = subprocess.run([*argv, "--", kind, str(ids), str(seed)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: wrk ended with {done.returncode}\n{done.stdout}{done.stderr}")
        told = json.loads(done.stdout.strip().splitlines()[-1])
        requests = told["requests"]
        if told["wrong"] or not requests:
            raise SystemExit(f"bench: {server.name}, {kind}: {told['wrong']} of {requests} requests failed\n{server.log_tail()}")
        self.per_second = requests / told["seconds"]
        self.p99 = told["p99_ms"] / 1000
        self.cpu = (server.cpu() - before[0]) / requests
        self.postgres = (postgres.cpu() - before[1]) / requests
        self.wrk = (wrk_cpu() - began) / (told["seconds"] * os.cpu_count())


def wrk_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def alternate(servers, postgres, kind, ids, repeat, seconds):
    """Rounds of each server in turns, after one that warms it; each list is as long as `repeat`."""
    rounds = {server.name: [] for server in servers}
    for number in range(repeat + 1):
        for server in servers:
            one = Round(server, postgres, kind, ids, seconds if number else 1, number)
            if number:
                rounds[server.name].append(one)
    return rounds


def middle(rounds, field):
    return statistics.median(getattr(one, field) for one in rounds)


def page_seconds(server, connection, path, times):
    """Seconds that a page takes on a connection that is open, the median of some times."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        took.append(time.monotonic() - began)
        if answer.status != 200:
            raise SystemExit(f"bench: {server.name} answers {answer.status} to {path}")
    return statistics.median(took)
