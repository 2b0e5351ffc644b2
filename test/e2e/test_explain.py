"""EXPLAIN (analyze) of views at work: what operators have done and keep, and which partition holds
the watermark back; the same figures over HTTP and in the pipeline's graph; the notice on CREATE."""
import json

import psycopg
import pytest

from conftest import wait_for
from http_client import Http

ROWS = 2000


@pytest.fixture(name="db", scope="module")
def fixture_db(server):
    with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as db:
        db.execute("CREATE TABLE sensors (k text, temp int4, ts timestamptz NOT NULL) WITH "
                   "(event_time = 'ts', lateness = '5 s', idle_timeout = '0', key = 'k', "
                   "partitions = 2)")
        db.execute("CREATE TABLE names (k text, name text)")
        db.execute("CREATE MATERIALIZED VIEW windows WITH (emit = 'final', retention = '1 day') AS "
                   "SELECT k, window_end, count(*) AS n FROM tumble(sensors, ts, INTERVAL '10 s') "
                   "WHERE temp >= 0 GROUP BY k, window_end")
        db.execute("CREATE MATERIALIZED VIEW joined AS SELECT s.k, name, count(*) AS n "
                   "FROM sensors s JOIN names n ON s.k = n.k GROUP BY s.k, name")
        db.execute("INSERT INTO names VALUES ('one', 'a'), ('other', 'b')")
        db.execute("INSERT INTO sensors SELECT 'one', i - 100, timestamptz '2026-01-01' + "
                   f"i * interval '1 s' FROM generate_series(0, {ROWS - 1}) i")
        wait_for(lambda: plan_json(db, "windows")["State Rows"] == (ROWS - 100) // 10, "the rows")
        yield db


def lines(db, view):
    """[(operator, {property: text})] of EXPLAIN (analyze)."""
    found = []
    for (line,) in db.execute(f"EXPLAIN (analyze) TABLE {view}").fetchall():
        name, colon, text = line.strip().partition(": ")
        depth = len(line) - len(line.lstrip())
        if found and depth == found[-1][0] + 4:
            assert colon
            found[-1][2][name] = text
        else:
            found.append((depth, line.strip(), {}))
    return [(operator, properties) for _, operator, properties in found]


def find(tree, start):
    """The operator of a JSON plan whose text begins so."""
    if tree["Operator"].startswith(start):
        return tree
    for below in tree.get("Plans", []):
        if (found := find(below, start)) is not None:
            return found
    return None


def plan_json(db, view):
    ((text,),) = db.execute(f"EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM {view}").fetchall()
    (document,) = json.loads(text)
    return document["Plan"]


def test_rows_of_each_operator(db):
    plan = plan_json(db, "windows")
    assert plan["Rows In"] == ROWS and plan["Status"] == "live" and plan["Late Rows"] == 0
    assert find(plan, "Window")["Rows In"] == ROWS
    aggregate = find(plan, "Aggregate")
    assert aggregate["Rows In"] == ROWS - 100 == find(plan, "Filter")["Rows Out"]
    assert aggregate["State Rows"] == (ROWS - 100) // 10
    assert aggregate["State Bytes"] > 0
    assert "until the watermark passes window_end + 1 day" in aggregate["Keeps"]


def test_operators_that_keep_rows(db):
    wait_for(lambda: find(plan_json(db, "joined"), "Join")["Rows In"] == ROWS + 2, "the rows")
    join = find(plan_json(db, "joined"), "Join")
    assert (join["Rows In"], join["Rows Out"]) == (ROWS + 2, ROWS)
    assert join["State Rows"] == 3  # equal rows are kept once, with their number
    assert join["State Bytes"] > 0
    assert join["Keeps"].endswith("for ever") and "Busy" in join
    assert "Warning" in plan_json(db, "joined")


def test_what_holds_the_watermark_back(db):
    """One partition has no event, and idle_timeout is 0: nothing comes out."""
    plan = plan_json(db, "windows")
    empty = db.execute("SELECT partition FROM sys.partitions WHERE topic = 'sensors' "
                       "AND end_offset = 0").fetchone()[0]
    assert plan["Rows Out"] == 0 and plan["Watermark"] == "none"
    assert plan["Held Back By"] == (f"sensors, partition {empty}: no event yet; idle_timeout is 0: "
                                    "it counts also when no events come")
    assert plan["First Open Window Ends"] == "2026-01-01 00:01:50+00"
    assert plan["It Waits For"].startswith("an event of sensors at 2026-01-01 00:01:55+00 or later")
    scan = find(plan, "Scan")
    assert (scan["Partitions"], scan["Idle Partitions"], scan["Records Not Read"]) == (2, 0, 0)


def test_text_is_the_same(db):
    found = lines(db, "windows")
    assert [operator.split(":")[0] for operator, _ in found] == [
        "View", "Project", "Aggregate", "Filter", "Window", "Scan"]
    assert found[2][1]["Rows In"].startswith(f"{ROWS - 100} (")


def test_http_and_the_graph(db, server):
    client = Http(server)
    rows = client.sql("EXPLAIN (analyze) TABLE joined")
    assert rows[0] == ["View: joined"]
    assert client.sql("EXPLAIN (state) SELECT k FROM sensors")[0] == ["View: of this query"]
    status, answer = client.get("/v1/pipeline")
    assert status == 200
    (join,) = [n for n in answer["nodes"] if n["kind"] == "join"]
    operator = find(plan_json(db, "joined"), "Join")
    assert (join["rows_in"], join["rows"], join["state_bytes"]) == (
        operator["Rows In"], operator["Rows Out"], operator["State Bytes"])
    client.close()


def test_sys_explain(db):
    assert db.execute("SELECT count(*) FROM sys.explain WHERE format = 'json'").fetchone() == (2,)
    assert db.execute("SELECT plan FROM sys.explain WHERE view = 'joined' AND line = 1 "
                      "AND format = 'text'").fetchone() == ("View: joined",)


def test_notice_of_state_without_end(db):
    notices = []
    db.add_notice_handler(lambda n: notices.append((n.severity, n.sqlstate, n.message_primary)))
    db.execute("CREATE MATERIALIZED VIEW kept AS SELECT DISTINCT k FROM sensors")
    assert not notices
    db.execute("CREATE MATERIALIZED VIEW endless AS SELECT a.k FROM sensors a LEFT JOIN names b "
               "USING (k)")
    ((severity, state, text),) = notices
    assert (severity, state) == ("NOTICE", "01000") and "Join: left" in text
    db.execute("DROP MATERIALIZED VIEW endless")
