"""What is measured of the ledger, beside the document's own implementation."""

import http.client
import json
import os
import pathlib
import random
import resource

from parts import fact, part, row

from .fill import fill, ids, untold
from .load import Round, alternate, middle, page_seconds
from .servers import Document, Ledger, Postgres

ROWS = int(os.environ.get("FFE_BENCH_ROWS", "50000"))
SECONDS = 3
KINDS = {
    "get": "one deployment",
    "list": "a page of 20 of the first 100",
    "entity": "the deployments of an entity, 20",
    "create": "a create",
}


class Both:
    """Both servers on one Postgres with the same rows; all of it ends with the `with`."""

    def __init__(self, place):
        self.place, self.started = place, []

    def __enter__(self):
        if not self.place.ledger:
            raise SystemExit("bench: no ledger was built: start this by scripts/bench")
        try:
            self.postgres = self.keep(Postgres(self.place))
            self.document, self.ledger = Document(self.place, self.postgres), Ledger(self.place, self.postgres, self.place.ledger)
            for database in ("library", "ledger"):
                fill(self.postgres, database, ROWS)
            self.ids = {}
            for name, lines in zip(("deployments", "entities"), ids(self.postgres, ROWS)):
                self.ids[name] = self.place.dir / name
                self.ids[name].write_text("\n".join(lines) + "\n")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in reversed(self.started):
            server.stop()

    def keep(self, server):
        self.started.append(server)
        return server

    def start(self):
        for server in (self.document, self.ledger):
            self.keep(server).started_in()
        return [self.document, self.ledger]


@part("The ledger beside the document's own implementation")
def ledger_beside(place, repeat):
    """On one Postgres, in turns of 3 s at 32 connections: FastAPI, SQLAlchemy and psycopg2 under uvicorn with a worker for each
    core (benches/ledger), and ours. Server CPU is user and system of all of a server's processes, by finished request;
    ratios are the medians of each. The load is wrk's, on the same cores, as Postgres is."""
    with Both(place) as both:
        starts = {}
        for server in (both.ledger, both.document):
            starts[server] = []
            for _ in range(repeat):
                starts[server].append(server.started_in())
                server.stop()
        rows, wrk = [], []
        servers = both.start()
        for kind, words in KINDS.items():
            asked = both.ids["deployments" if kind == "get" else "entities"]
            rounds = alternate(servers, both.postgres, kind, asked, repeat, SECONDS)
            rows += compared(words, rounds["ledger"], rounds["document"])
            wrk += [one.wrk for of in rounds.values() for one in of]
        rows.append(fact("most that wrk took of the processors", f"{max(wrk) * 100:.0f} %"))
        wrong = untold(both.postgres)
        if wrong:
            raise SystemExit(f"bench: totals that the ledger keeps are wrong: {wrong}")
        rows.append(row("start until the first 200 of `/health`", sorted(starts[both.ledger])[repeat // 2] * 1000, "ms", 200))
        rows.append(fact("start of the document's", f"{sorted(starts[both.document])[repeat // 2] * 1000:.0f} ms"))
        rows += crowd(both)
    return rows


def compared(words, ours, theirs):
    """Ratios of one kind of request: processor, throughput, and the slowest of a hundred."""
    cpu, their_cpu = middle(ours, "cpu"), middle(theirs, "cpu")
    often, their_often = middle(ours, "per_second"), middle(theirs, "per_second")
    slow, their_slow = middle(ours, "p99"), middle(theirs, "p99")
    return [
        at_most(f"{words}: server CPU", cpu / their_cpu, 20, f"{cpu * 1e6:.0f} µs of {their_cpu * 1e6:.0f} µs"),
        at_least(f"{words}: requests a second", often / their_often, 5, f"{often:.0f} to {their_often:.0f}"),
        at_most(f"{words}: 99th percentile", slow / their_slow, 5, f"{slow * 1e3:.1f} ms of {their_slow * 1e3:.1f} ms"),
        fact(f"{words}: CPU of Postgres", f"{middle(ours, 'postgres') * 1e6:.0f} µs of {middle(theirs, 'postgres') * 1e6:.0f} µs"),
    ]


def at_most(what, ratio, part, values):
    return {"what": what, "value": f"1/{1 / ratio:.1f} ({values})", "limit": f"1/{part}", "within": ratio <= 1 / part}


def at_least(what, ratio, times, values):
    return {"what": what, "value": f"{ratio:.1f} times ({values})", "limit": f"{times} times", "within": ratio >= times}


def crowd(both):
    """What each has in memory with 1,000 connections open, each of which has had a page, and at most while all ask at once."""
    rows = []
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for server in (both.ledger, both.document):
        server.stop()
        server.started_in()
        connections = [open_connection(server, number) for number in range(1000)]
        held = server.memory()
        for connection in connections:
            connection.close()
        Round(server, both.postgres, "list", both.ids["entities"], SECONDS, 1, connections=1000)
        rows.append((held, server.memory("VmHWM")))
    (held, most), (their_held, their_most) = rows
    return [
        row("memory with 1,000 connections open, a page read on each", held, "MB", 60),
        fact("most while all of them ask for pages without a pause", f"{most:.0f} MB"),
        fact("the document's, all its processes", f"{their_held:.0f} MB, {their_most:.0f} MB"),
    ]


def open_connection(server, number):
    """A connection on which a page was read, and that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    page_seconds(server, connection, f"/api/v1/deployments?page={number % 100 + 1}", 1)
    return connection


@part("Pages of the ledger's lists")
def ledger_pages(place, repeat):
    """How long one page takes that a client asks for alone, the whole answer read: for each page the median of its
    times, of which the largest is told. `any` are pages all over the list, the last one and those beside the middle among
    them, with 20 and with 100 on a page."""
    with Both(place) as both:
        both.keep(both.ledger).started_in()
        rows = [fact("deployments", f"{ROWS:,}")]
        for words, filters in filters_of(both).items():
            first, every = pages(both.ledger, filters, repeat)
            rows.append(row(f"{words}: the first 100 pages", first * 1000, "ms", 20))
            rows.append(row(f"{words}: any page", every * 1000, "ms", 200))
        both.ledger.stop()
        both.keep(both.document).started_in()
        connection = http.client.HTTPConnection("127.0.0.1", both.document.port)
        for words, page in (("page 1", 1), ("the page in the middle", ROWS // 40)):
            took = page_seconds(both.document, connection, f"/api/v1/deployments?page={page}", 3)
            rows.append(fact(f"the document's, {words}", f"{took * 1000:.0f} ms"))
    return rows


def filters_of(both):
    entity = both.postgres.psql("postgres", "SELECT md5('entity 0')::uuid").stdout.strip()
    return {
        "without a filter": "",
        "of an environment": "&environment=production",
        "with the commonest status": "&status=inactive",
        "with a rare status": "&status=rolled_back",
        "of an environment, with a status": "&environment=staging&status=inactive",
        "of an entity that has a tenth of all": f"&entity_id={entity}",
        "of that entity, of an environment": f"&entity_id={entity}&environment=production",
        "of that entity, with a status": f"&entity_id={entity}&status=inactive",
        "of that entity, with both": f"&entity_id={entity}&environment=production&status=inactive",
    }


def pages(server, filters, repeat):
    """The slowest of the first hundred pages, and of pages anywhere."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    total = json.loads(server.ask(f"/api/v1/deployments?page_size=1{filters}"))["total"]
    path = "/api/v1/deployments?page={}&page_size={}" + filters
    first = max(page_seconds(server, connection, path.format(page, 20), 3) for page in range(1, min(100, -(-total // 20)) + 1))
    slowest = first
    for size in (20, 100):
        last = -(-total // size)
        spread = [1, last // 4, last // 2, last // 2 + 1, last * 3 // 4, last - 1, last]
        spread += random.Random(size).choices(range(1, last + 1), k=10)
        for page in {min(max(page, 1), last) for page in spread}:
            slowest = max(slowest, page_seconds(server, connection, path.format(page, size), 3))
    return first, slowest
