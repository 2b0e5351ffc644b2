"""Named cases, run one after the other; one line each: "ok NAME" or "FAILED NAME: why"."""
import sys
import threading
import time
import traceback
import uuid

CASE_SECONDS_MAX = 60
MECHANISM = sys.argv[2] if len(sys.argv) > 2 else None
USER, PASSWORD = "alice", "secret"  # as run.py makes them


def fresh(what):
    return f"{what}-{uuid.uuid4().hex[:12]}"


def numbers(n):
    return [str(i) for i in range(n)]


def to_compact():
    """(key, value) of records for a compacted topic, and the last value of each key."""
    records = [(f"k{i % 7}" if i < 1000 else f"f{i % 3}",
                None if 993 <= i < 996 else f"{i}" + "x" * 60) for i in range(1500)]
    return records, {k: v for k, v in dict(records).items() if v is not None}


COMPACTED = {"cleanup_policy": "compact", "segment_bytes": "16384",
             "min_cleanable_dirty_ratio": "0.01", "delete_retention_ms": "0"}


def eventually(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def equal(expected, actual, what):
    assert expected == actual, f"{what}: expected {expected!r}, got {actual!r}"


def _run(function, result):
    try:
        function()
        result.append(None)
    except BaseException as error:  # pylint: disable=broad-exception-caught
        traceback.print_exc()
        result.append(f"{type(error).__name__}: {error}".replace("\n", " "))


def run(client, version, cases):
    """cases: (name, function) pairs. Ends the program: status 1 when one failed."""
    print("client", client, version, *([MECHANISM] if MECHANISM else []), flush=True)
    failed = 0
    for name, function in cases:
        start = time.monotonic()
        result = []
        thread = threading.Thread(target=_run, args=(function, result), daemon=True)
        thread.start()
        thread.join(CASE_SECONDS_MAX)
        why = result[0] if result else f"not done after {CASE_SECONDS_MAX} s"
        failed += why is not None
        ms = int((time.monotonic() - start) * 1000)
        print(f"ok {client}.{name} ({ms} ms)" if why is None else f"FAILED {client}.{name}: {why}",
              flush=True)
    sys.exit(1 if failed else 0)
