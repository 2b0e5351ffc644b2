"""Real streams by the protocols that they come by, against answers that their sources publish.

The data and where it is from: ../known_answers. Of each view there are three, made before the
first record, in the middle and after the last one; hours are compared with what is counted here."""
import csv
import json
import lzma
import pathlib
import re
import subprocess
import urllib.request
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import psycopg
import pytest

DATA = pathlib.Path(__file__).resolve().parents[1] / "known_answers"
MADE = ("before", "middle", "after")
SECONDS_MAX = 120


def lines_of(name):
    with lzma.open(DATA / name, "rt", encoding="utf-8", newline="") as file:
        return file.read().splitlines()


def by_http(server, table, lines):
    request = urllib.request.Request(f"http://{server.http}/v1/tables/{table}/rows",
                                     data="\n".join(lines).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=SECONDS_MAX) as answer:
        assert json.load(answer) == {"rows": len(lines)}


def by_kafka(server, table, lines):
    subprocess.run(["kcat", "-P", "-b", server.kafka, "-t", table, "-X", "compression.codec=zstd"],
                   input="\n".join(lines).encode(), check=True, timeout=SECONDS_MAX)


class Stream:
    """A table, the views over it, and how its records are sent."""

    def __init__(self, server, table, send):
        self.server, self.table, self.send = server, table, send
        self.db = psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True)
        self.views = {}

    def create(self, columns, options):
        self.db.execute(f"CREATE TABLE {self.table} ({columns}) WITH ({options})")

    def run(self, lines, views, chunk=5000):
        """Sends all lines; views: text by name, each made three times, "{}" being its name."""
        self.views = views
        self.make("before")
        half = len(lines) // 2
        for part, when in ((lines[:half], "middle"), (lines[half:], "after")):
            for start in range(0, len(part), chunk):
                self.send(self.server, self.table, part[start:start + chunk])
            self.make(when)

    def make(self, when):
        for name, text in self.views.items():
            name = f"{name}_{when}"
            text = text.replace("{}", name)
            self.db.execute(f"CREATE MATERIALIZED VIEW {name} {text}")

    def equal(self, name, expected, query="SELECT * FROM {}"):
        """The rows of each of the three views, in no order."""
        for when in MADE:
            rows = self.db.execute(query.format(f"{name}_{when}")).fetchall()
            assert Counter(rows) == Counter(expected), f"{name}_{when}"

    def refused(self):
        return self.db.execute("SELECT count(*) FROM sys.dead_letters").fetchone()[0]


@pytest.fixture(name="stream")
def fixture_stream(make_server):
    streams = []

    def make(table, send):
        streams.append(Stream(make_server("--threads", "2"), table, send))
        return streams[-1]

    yield make
    for each in streams:
        each.db.close()


def hour(text):
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return at.replace(minute=0, second=0, microsecond=0, tzinfo=timezone.utc)


def test_wikipedia_edits(stream):
    lines = lines_of("wikipedia_edits.jsonl.xz")
    edits = stream("edits", by_http)
    edits.create('"time" timestamptz NOT NULL, channel text, page text, "user" text, '
                 '"isRobot" bool, delta int8, added int8, deleted int8',
                 "event_time = 'time', partitions = 3, lateness = '1 s'")
    edits.run(lines, {
        "totals": "AS SELECT count(*) AS edits, sum(added) AS added, sum(deleted) AS deleted "
                  "FROM edits",
        "channels": "AS SELECT channel, count(*) AS edits FROM edits GROUP BY channel "
                    "HAVING count(*) > 2522",
        "pages": "AS SELECT page, count(*) AS edits FROM edits GROUP BY page "
                 "ORDER BY edits DESC LIMIT 5",
        "hours": "AS SELECT window_start, count(*) AS edits, sum(added) AS added, "
                 "count(DISTINCT \"user\") AS users FROM tumble(edits, time, INTERVAL '1 hour') "
                 "GROUP BY window_start",
        "robots": "AS SELECT channel, count(*) FILTER (WHERE \"isRobot\") AS robots, "
                  "max(abs(delta)) AS most FROM edits GROUP BY channel",
    })
    edits.equal("totals", [(39244, 9385573, 394298)])
    edits.equal("channels", [("#en.wikipedia", 11549), ("#vi.wikipedia", 9747),
                             ("#de.wikipedia", 2523)])
    edits.equal("pages", [
        ("Wikipedia:Vandalismusmeldung", 33),
        ("User:Cyde/List of candidates for speedy deletion/Subpage", 28), ("Jeremy Corbyn", 27),
        ("Wikipedia:Administrators' noticeboard/Incidents", 21), ("Flavia Pennetta", 20)])
    hours, robots = {}, {}
    for edit in map(json.loads, lines):
        n, added, users = hours.setdefault(hour(edit["time"]), [0, 0, set()])
        hours[hour(edit["time"])] = [n + 1, added + edit["added"], users | {edit["user"]}]
        n, most = robots.get(edit["channel"], (0, 0))
        robots[edit["channel"]] = n + edit["isRobot"], max(most, abs(edit["delta"]))
    edits.equal("hours", [(at, n, added, len(users)) for at, (n, added, users) in hours.items()])
    edits.equal("robots", [(channel, *cells) for channel, cells in robots.items()])
    assert edits.refused() == 0


def test_taxi_trips(stream):
    """Out of order by weeks, with refunds and times of other years; money to the cent."""
    lines = lines_of("taxi.csv.xz")
    trips = stream("trips", by_kafka)
    trips.create("at timestamptz NOT NULL, zone int4, payment int4, total numeric",
                 "format = 'csv', event_time = 'at', lateness = '10 days'")
    trips.run(lines, {
        "income": "AS SELECT count(*) AS trips, sum(total) AS total FROM trips",
        "zones": "AS SELECT zone, count(*) AS trips FROM trips GROUP BY zone "
                 "ORDER BY trips DESC LIMIT 3",
        "payments": "AS SELECT payment, count(*) AS trips FROM trips GROUP BY payment",
        "days": "WITH (late_to = '{}_late') AS SELECT window_start, count(*) AS trips, "
                "sum(total) AS total FROM tumble(trips, at, INTERVAL '1 day') "
                "GROUP BY window_start",
    }, chunk=60000)
    trips.equal("income", [(360000, Decimal("6856104.76"))])
    trips.equal("zones", [(237, 15335), (236, 14558), (161, 13062)])
    payments = {1: 247545, 2: 101166, 3: 2173, 4: 872, None: 8244}
    trips.equal("payments", payments.items())
    days, late, newest = {}, [], datetime.min
    for text, zone, payment, total in csv.reader(lines):
        at = datetime.fromisoformat(text)
        newest = max(newest, at)
        day = at.replace(hour=0, minute=0, second=0)
        if day + timedelta(days=1) <= newest - timedelta(days=10):
            late.append((at.replace(tzinfo=timezone.utc), int(zone),
                         int(payment) if payment else None, Decimal(total)))
            continue
        n, total_before = days.get(day, (0, Decimal(0)))
        days[day] = n + 1, total_before + Decimal(total)
    assert len(late) > 10000
    trips.equal("days", [(day.replace(tzinfo=timezone.utc), *cells)
                         for day, cells in days.items()])
    trips.equal("days", late, "SELECT * FROM {}_late")
    assert trips.refused() == 0


def test_github_events(stream):
    lines = lines_of("github_events.jsonl.xz")
    events = stream("events", by_http)
    events.create("id text, type text, actor jsonb, repo jsonb, payload jsonb, "
                  "created_at timestamptz NOT NULL", "event_time = 'created_at'")
    events.run(lines, {
        "types": "AS SELECT type, count(*) AS events FROM events GROUP BY type",
        "pushed": "AS SELECT repo->>'name' AS repo, sum((payload->>'size')::int8) AS commits "
                  "FROM events WHERE type = 'PushEvent' GROUP BY 1",
        "messages": "AS SELECT count(*) AS commits, count(DISTINCT c->>'sha') AS different, "
                    "max(length(c->>'message')) AS longest "
                    "FROM events, jsonb_array_elements(payload->'commits') AS c",
    }, chunk=200)
    types = {"PushEvent": 425, "CreateEvent": 103, "PullRequestEvent": 64, "WatchEvent": 58,
             "IssueCommentEvent": 36, "PullRequestReviewEvent": 28, "DeleteEvent": 23,
             "IssuesEvent": 21, "ForkEvent": 19, "PullRequestReviewCommentEvent": 10,
             "MemberEvent": 4, "ReleaseEvent": 3, "PublicEvent": 2, "CommitCommentEvent": 2,
             "GollumEvent": 2}
    events.equal("types", types.items())
    pushes = [e for e in map(json.loads, lines) if e["type"] == "PushEvent"]
    sizes = Counter()
    for push in pushes:
        sizes[push["repo"]["name"]] += push["payload"]["size"]
    events.equal("pushed", [(repo, Decimal(n)) for repo, n in sizes.items()])
    commits = [c for e in pushes for c in e["payload"]["commits"]]
    events.equal("messages", [(len(commits), len({c["sha"] for c in commits}),
                               max(len(c["message"]) for c in commits))])
    assert events.refused() == 0


def test_access_log(stream):
    """Lines as they are, the one that was cut off in the middle too."""
    lines = lines_of("access.log.xz")
    access = stream("access", by_kafka)
    access.create(
        "ip text, at timestamptz, path text, status int4, bytes int8, agent text",
        r"""format = 'regex', event_time = 'at', null = '-', lateness = '1 minute', pattern =
        '^(?<ip>\S+) \S+ \S+ \[(?<at>[^]]+)\] "\S+ (?<path>\S+)[^"]*" """
        r"""(?<status>\d{3}) (?<bytes>\S+)( "[^"]*" "(?<agent>.*?)"?)?$'""")
    access.run(lines, {
        "statuses": "AS SELECT status, count(*) AS requests FROM access GROUP BY status",
        "sent": "AS SELECT sum(bytes) AS bytes, count(DISTINCT ip) AS clients FROM access",
        "hours": "AS SELECT window_start, count(*) AS requests, sum(bytes) AS bytes "
                 "FROM tumble(access, at, INTERVAL '1 hour') GROUP BY window_start",
    }, chunk=2000)
    statuses = {200: 9126, 304: 445, 404: 213, 301: 164, 206: 45, 500: 3, 403: 2, 416: 2}
    access.equal("statuses", statuses.items())
    access.equal("sent", [(Decimal(2747282740), 1753)])
    hours = {}
    for line in lines:
        at, size = re.search(r'\[([^]]+)\] "[^"]*" \d+ (\S+)', line).groups()
        at = datetime.strptime(at, "%d/%b/%Y:%H:%M:%S %z").replace(minute=0, second=0)
        n, total = hours.get(at, (0, 0))
        hours[at] = n + 1, total + (0 if size == "-" else int(size))
    access.equal("hours", [(at, n, Decimal(total)) for at, (n, total) in hours.items()])
    assert access.refused() == 0


def test_nginx_status(stream):
    """Deeply nested counters with times as numbers, and how much they grew."""
    status = stream("status", by_kafka)
    status.create('"timestamp" int8, requests jsonb, server_zones jsonb', "partitions = 2")
    lines = lines_of("nginx_status.jsonl.xz")
    status.run(lines, {
        "grown": "AS SELECT max((requests->>'total')::int8) - min((requests->>'total')::int8) AS n "
                 "FROM status",
        "steps": "AS SELECT count(*) AS n, min(step) AS shortest, max(step) AS longest FROM "
                 "(SELECT timestamp - lag(timestamp) OVER (ORDER BY timestamp) AS step "
                 "FROM status) AS steps WHERE step IS NOT NULL",
        "zones": "AS SELECT z.key AS zone, max((z.value->>'requests')::int8) AS requests "
                 "FROM status, jsonb_each(server_zones) AS z GROUP BY z.key",
    }, chunk=100)
    status.equal("grown", [(28384,)])
    documents = [json.loads(line) for line in lines]
    times = sorted(d["timestamp"] for d in documents)
    steps = [after - before for before, after in zip(times, times[1:])]
    status.equal("steps", [(len(steps), min(steps), max(steps))])
    zones = Counter()
    for document in documents:
        for zone, counters in document["server_zones"].items():
            zones[zone] = max(zones[zone], counters["requests"])
    status.equal("zones", zones.items())
    assert status.refused() == 0
