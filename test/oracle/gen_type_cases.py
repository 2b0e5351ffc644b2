#!/usr/bin/python3
"""Asks a private PostgreSQL 15 what expressions give, and writes the answers as case files for
test/unit/type/test_cases.c.

Usage: test/oracle/gen_type_cases.py [FOLDER [SCALE [SEED]]]   (default: test/unit/type/cases 1)

SCALE multiplies the number of random cases: a large one in a folder elsewhere, which
TIDEMILL_TYPE_CASES names to the tests, looks for differences that the checked-in files do not
have.

The server runs in a temporary folder on a Unix socket, as the user postgres when started by root.
Inputs are random from a fixed seed. One line is one case, fields separated by tabs, with COPY's
escapes:

    KIND  NAME  EXPECTED  TYPE VALUE  TYPE VALUE ...

KIND is in (text input), cast (NAME = target), op or fn. EXPECTED is =TEXT, \\N (NULL) or
!SQLSTATE, then the message where Tidemill's is to be the same.
"""
import math
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import psycopg

BIN = "/usr/lib/postgresql/15/bin"
SEED = 20240305
NULL = None

# Tidemill's error table is coarser than PostgreSQL's list of SQLSTATEs.
SAME_ERROR = {
    "22007": "22P02", "22015": "22008", "22009": "22008", "22P05": "22P02",
    "2201E": "22023", "2201F": "22023", "2201B": "22023", "22011": "22023", "22025": "22023",
    "22004": "23502", "22038": "22023", "22039": "22023", "2203A": "22023", "2203C": "22023",
    "22033": "22023", "22034": "22023", "22035": "22023", "22036": "22023", "2203B": "22023",
    "2203F": "22023", "22031": "22023", "2203D": "22023", "2203G": "22023",
    "2202E": "22P02", "22019": "22023", "22032": "22P02", "2201G": "22023",
}


# Messages that Tidemill words differently: it says where, or more.
OWN_TEXTS = ("invalid input syntax for type json", "invalid regular expression",
             "numeric field overflow", "unsupported Unicode", "requested character",
             "null character", "invalid byte sequence", "invalid value \"", "hour \"")

OPTIONS = {"scale": 1.0, "seed": SEED}


def times(n):
    """n random cases, scaled."""
    return range(max(2, int(n * OPTIONS["scale"] * 0.55)))


def as_postgres(command):
    """Servers refuse to run as root."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] + command


class Server:
    """A private PostgreSQL in a temporary folder."""

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidemill-oracle-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        data = self.folder / "data"
        subprocess.run(as_postgres([BIN + "/initdb", "-D", str(data), "--locale=C.UTF-8", "-E",
                                    "UTF8", "-A", "trust", "-U", "oracle"]),
                       check=True, stdout=subprocess.DEVNULL, cwd="/")
        self.process = subprocess.Popen(
            as_postgres([BIN + "/postgres", "-D", str(data), "-k", str(self.folder), "-c",
                         "listen_addresses=", "-c", "fsync=off"]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        for _ in range(100):
            try:
                self.connection = psycopg.connect(host=str(self.folder), user="oracle",
                                                  dbname="postgres", autocommit=True)
                break
            except psycopg.OperationalError:
                subprocess.run(["sleep", "0.1"], check=True)
        self.cursor = self.connection.cursor()
        for setting in ("timezone = 'UTC'", "intervalstyle = 'postgres'",
                        "datestyle = 'ISO, MDY'", "extra_float_digits = 1"):
            self.cursor.execute("SET " + setting)
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)

    def ask(self, sql):
        """The text of the one value that the query gives, None, or '!' and the SQLSTATE."""
        try:
            self.cursor.execute(sql)
            return self.cursor.fetchone()[0]
        except psycopg.Error as error:
            state = error.diag.sqlstate or "XX000"
            text = error.diag.message_primary or ""
            if text.startswith(OWN_TEXTS) or "without time zone" in text:
                text = ""
            return ("!%s %s" % (SAME_ERROR.get(state, state), text)).strip()


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def literal(kind, value):
    if value is NULL:
        return "NULL::" + kind
    return "%s::%s" % (quote(value), kind)


def escape(text):
    if text is NULL:
        return "\\N"
    for plain, code in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, code)
    return text


def fits(text):
    """Whether Tidemill can hold the value: 38 digits, 37 of a fraction, years 1 to 294246."""
    if text is NULL or text.startswith("!"):
        return True
    if text.endswith(" BC") or text.startswith("2942") or text.startswith("2943"):
        return False
    number = text.lstrip("-")
    if not number.replace(".", "", 1).isdigit():
        return True
    whole, _, fraction = number.partition(".")
    return len(whole.lstrip("0")) + len(fraction) <= 38 and len(fraction) <= 37


class Writer:
    """Collects the cases of one file."""

    def __init__(self, server, folder, name):
        self.server, self.path, self.lines, self.seen = server, folder / (name + ".tsv"), [], set()

    def case(self, kind, name, sql, args):
        """One case; `sql` takes the literals of the arguments."""
        key = (kind, name, tuple(args))
        if key in self.seen:
            return
        self.seen.add(key)
        answer = self.server.ask("SELECT (%s)::text" % sql.format(*[literal(t, v)
                                                                     for t, v in args]))
        if not fits(answer) or (answer or "").startswith("!42"):
            if (answer or "").startswith("!42"):
                print("not a PostgreSQL expression:", kind, name, args, file=sys.stderr)
            return
        expected = answer if answer is not NULL and answer.startswith("!") else (
            NULL if answer is NULL else "=" + answer)
        fields = [kind, name, escape(expected)]
        for kind_of, value in args:
            fields += [kind_of, escape(value)]
        self.lines.append("\t".join(fields))

    def read(self, kind, text):
        """Text input and output of a type."""
        self.case("in", kind, "{0}", [(kind, text)])

    def cast(self, source, target, value):
        self.case("cast", target, "{0}::" + target, [(source, value)])

    def operator(self, name, left, right):
        self.case("op", name, "{0} " + name + " {1}", [left, right])

    def unary(self, name, argument):
        self.case("op", name, name + " {0}", [argument])

    def function(self, name, *args):
        holes = ", ".join("{%d}" % i for i in range(len(args)))
        self.case("fn", name, "%s(%s)" % (name, holes), list(args))

    def close(self):
        self.path.write_text("".join(line + "\n" for line in self.lines))
        print("%s: %d cases" % (self.path.name, len(self.lines)))


# ---- random values, as text ----

def some_int(r, bits):
    edge = 2 ** (bits - 1)
    pick = r.random()
    if pick < 0.25:
        return str(r.choice([0, 1, -1, 2, -2, edge - 1, -edge, edge - 2, -edge + 1]))
    if pick < 0.6:
        return str(r.randint(-100, 100))
    return str(r.randint(-edge, edge - 1) >> r.randint(0, bits - 2))


def some_float(r):
    pick = r.random()
    if pick < 0.2:
        return r.choice(["0", "-0", "1", "-1", "NaN", "Infinity", "-Infinity", "0.1", "1e308",
                         "5e-324", "2.5", "3.5", "-2.5", "1e15", "123456789012345680", "1e-5"])
    if pick < 0.6:
        return repr(round(r.uniform(-1000, 1000), r.randint(0, 6)))
    return repr(r.uniform(-1, 1) * 10.0 ** r.randint(-300, 300))


def some_numeric(r, digits=18):
    pick = r.random()
    if pick < 0.15:
        return r.choice(["0", "0.00", "1", "-1", "NaN", "Infinity", "-Infinity", "0.5", "-0.5",
                         "1.5", "2.50", "99999.99999", "10000", "0.0001", "9999", "0.00010000"])
    count = r.randint(1, digits)
    text = "".join(r.choice("0123456789") for _ in range(count))
    point = r.randint(0, count)
    text = text[:point] + "." + text[point:] if r.random() < 0.7 else text
    return r.choice(["", "-"]) + (text if text != "." else "0")


def some_text(r):
    words = ["", "a", "abc", "ABC", "hello world", "naïve café", "日本語テキスト",
             "a,b,,c", "  pad ", "xyxyx",
             "%", "_", "a%b", "ÄÖÜß", "Привет", "100", "aaa", "Hello-World_2",
             "tab\there", "über"]
    return r.choice(words) if r.random() < 0.8 else "".join(r.choice("abcxyz ,-") for _ in range(
        r.randint(0, 12)))


def some_date(r):
    if r.random() < 0.08:
        return r.choice(["infinity", "-infinity"])
    if r.random() < 0.1:
        return r.choice(["0001-01-01", "9999-12-31", "2000-02-29", "1900-02-28", "1970-01-01",
                         "2024-12-30", "2027-01-03"])
    return "%04d-%02d-%02d" % (r.choice([r.randint(1990, 2030), r.randint(1, 9999)]),
                               r.randint(1, 12), r.randint(1, 28))


def some_timestamp(r):
    date = some_date(r)
    if "infinity" in date:
        return date
    text = "%s %02d:%02d:%02d" % (date, r.randint(0, 23), r.randint(0, 59), r.randint(0, 59))
    if r.random() < 0.5:
        text += ".%d" % r.randint(0, 999999)
    return text + "+00"


def some_interval(r):
    units = ["year", "month", "week", "day", "hour", "minute", "second", "millisecond"]
    parts = []
    for unit in r.sample(units, r.randint(1, 3)):
        number = r.randint(-50, 50)
        parts.append("%s %s%s" % (number if r.random() < 0.7 else number + 0.5, unit,
                                  r.choice(["", "s"])))
    return " ".join(parts)


def some_json(r, depth=0):
    pick = r.random()
    if depth > 2 or pick < 0.45:
        return r.choice(["1", "-0", "1.50", "1e3", "2.5e-3", "true", "false", "null", '"a"', '""',
                         '"q\\"uote"', '"\\u00e9\\n"', '"\\ud83d\\ude00"', "12345678901234567890",
                         '"é"', "0.10", "[]", "{}"])
    if pick < 0.7:
        return "[" + ",".join(some_json(r, depth + 1) for _ in range(r.randint(0, 4))) + "]"
    keys = ["a", "b", "bb", "aa", "c", "é", "a", "key one", ""]
    return "{" + " , ".join('"%s":%s' % (r.choice(keys), some_json(r, depth + 1))
                            for _ in range(r.randint(0, 4))) + "}"


SOME = {
    "bool": lambda r: r.choice(["true", "false"]),
    "int4": lambda r: some_int(r, 32),
    "int8": lambda r: some_int(r, 64),
    "float8": some_float,
    "numeric": some_numeric,
    "text": some_text,
    "timestamptz": some_timestamp,
    "date": some_date,
    "interval": some_interval,
    "jsonb": some_json,
}


# ---- what is asked ----

INPUTS = {
    "bool": ["t", "tr", "TRUE", " yes ", "y", "on", "of", "off", "o", "0", "1", "2", "", "n",
             "fals",
             "truee"],
    "int4": ["0", " 42 ", "-0", "+7", "2147483647", "2147483648", "-2147483648", "-2147483649", "",
             "1.0", "1e3", "0x10", "abc", "- 1", "99999999999999999999", "1 2"],
    "int8": ["9223372036854775807", "9223372036854775808", "-9223372036854775808", " 5", "x",
             "+-1"],
    "float8": ["1", "-1.5", "1e10", "1E-10", ".5", "5.", ".", "nan", "NaN", "-nan", "inf",
               "-Infinity", "+infinity", "1e400", "1e-400", "-1e400", "0x1p3", "0xff", "1e", "1e+",
               "", " 2.5 ", "1.7976931348623157e308", "1.7976931348623159e308", "4.9e-324", "1_000",
               "2.4703282292062327e-324", "2.4703282292062328e-324", "9007199254740993",
               "123456789.123456789123456789", "0.1e1", "1e5x", "infinit", "1e-5", "1e15", "1e14",
               "100000000000000000000", "123456789012345", "1234567890123456", "0.00001234"],
    "numeric": ["1", "-1.50", "1e5", "1e-5", "1.5e3", "1.50e1", ".5", "5.", ".", "nan", "-inf",
                "Infinity", "", " 3.14 ", "1e", "0.000", "-0", "-0.0", "00012.300", "1e37",
                "12345678901234567890123456789012345678", "--1", "1 1", "0x10", "+5", "1e-30"],
    "timestamptz": [
        "2024-03-05 17:04:05", "2024-03-05T17:04:05Z", "2024-03-05T17:04:05.123456+01:00",
        "2024-03-05 17:04:05.1234567", "2024-03-05 17:04:05.9999995", "2024-03-05 17:04",
        "2024-03-05", "20240305", "20240305T170405", "20240305 170405", "2024-02-30 00:00:00",
        "2024-13-01", "2023-02-29", "2024-02-29 24:00:00", "2024-02-29 24:00:01",
        "2024-02-29 23:59:60", "2024-02-29 23:60:00", "2024-02-29 25:00:00", "infinity",
        "-infinity", "epoch", "", "garbage", "2024-03-05 17:04:05 PM", "2024-03-05 05:04:05 PM",
        "2024-03-05 12:00 AM", "17/May/2015:10:05:43 +0200",
        "2015-05-17:10:05:03", "Jan 5 2020", "January 5, 2020 10:00", "5 Jan 2020 10:00+02",
        "2020-Jan-05", "1/2/2020", "1/2/20", "12/31/99", "13/1/2020", "2020/1/2", "2020.1.2",
        "2024-03-05 17:04:05+05:30", "2024-03-05 17:04:05-0800", "2024-03-05 17:04:05+16",
        "2024-03-05 17:04:05 UTC", "2024-03-05 17:04:05 GMT", "2024-03-05 17:04:05 z",
        "Tue Mar 05 17:04:05 2024", "2024-03-05 17:04:05 +02", "0001-01-01 00:00:00",
        "99999-01-01 00:00:00", "294246-12-31 23:59:59", "2024-1-5 1:2:3", "2024-03-05  17:04:05",
        " 2024-03-05 17:04:05 ", "2024-03-05 17:04:05.5 Z",
        "2024-03-05 17:04:05 17:04:05", "17:04:05", "2024-00-05", "2024-01-00", "0000-01-01",
        "2024-03-05T17:04:05.Z", "2024-03-05 1704", "2024-03-05t17:04:05z"],
    "date": ["2024-03-05", "20240305", "2024-02-30", "Mar 5 2024", "5-Mar-2024", "3/5/2024",
             "epoch",
             "infinity", "-infinity", "", "x", "2024-03-05 17:00", "5874897-12-31", "5874898-01-01",
             "2024-3-5", "0001-01-01", "99-01-01", "24-01-02", "March 2024"],
    "interval": [
        "1 day", "1 day 02:03:04", "-1 day", "1 year 2 months 3 days 04:05:06.789", "PT5M", "P1D",
        "P1Y2M3DT4H5M6S", "P1W", "PT0.5S", "P", "PT", "1", "1.5", "5 min", "5min", "5m", "2h 30m",
        "1 week", "1.5 weeks", "1.5 days", "1.5 months", "1.5 years", "0.1 months", "@ 1 minute",
        "@ 1 minute ago", "1 day ago", "-1 day ago", "1 day -02:03", "02:03", "02:03:04.5",
        "1:30.5",
        "-02:03:04", "1-2", "-1-2", "1-13", "1 decade", "1 century", "1 millennium", "2 centuries",
        "100 us", "1500 ms", "0.5 s", "1 day 5", "1 hour 1 hour", "", "day", "1 foo", "infinity",
        "99999999999 years", "178000000 years", "178956970 years", "178956971 years",
        "2147483647 days", "2147483648 days", "10000000 hours", "1 mon", "1 mons",
        "1 year 12 months",
        "13 months", "-13 months", "1 mon -1 day", "-1 mon 1 day 1 hour", "1 day 25:00:00",
        "00:60:00", "00:00:60", "00:00:61", "P1Y-2M", "PT-5M", "P0.5D", "P1.5Y", "PT36H",
        "  3   hours  ", "+3 hours", "3 hours ago", "1 qtr", "1 quarter"],
    "jsonb": ['{"b":1,"a":2}', '{"aa":1,"b":2}', '{"a":1,"a":2}', "[1, 2,3 ]", "1e2", "-0", "-0.0",
              "1.10", '"\\u0041"', '"\\u0000"', '"\\ud83d"', '"\\ude00"', "{", "[1,]", '{"a"}',
              "tru",
              "", " null ", "[1 2]", '{"a":1,}', "01", "1.", ".5", "+1", '"a', '"\\x"', '"a\tb"',
              '{"":{}}', "[[[]]]", "nulll", '{"a":1}x', "1e-3", "1.5E+2", '"\\/\\b\\f\\r"',
              '{"b":1,"a":{"z":1,"y":[true,false,null]},"b":2}', "0e10", "1e", "-", "NaN", "'a'",
              '"\\u00ff\\u001f\\u007f"'],
}


def ask_inputs(w, r):
    for kind, texts in INPUTS.items():
        for text in texts:
            w.read(kind, text)
    for _ in times(250):
        w.read("float8", some_float(r))
        w.read("float8", repr(math.ldexp(r.random(), r.randint(-1070, 1020))))
        w.read("numeric", some_numeric(r, 30))
        w.read("interval", some_interval(r))
        w.read("jsonb", some_json(r))
    for _ in times(100):
        w.read("timestamptz", some_timestamp(r))
        w.read("float8", repr(2.0 ** r.randint(-1074, 1023)))


CASTS = [("int4", "int8"), ("int4", "float8"), ("int4", "numeric"), ("int4", "bool"),
         ("bool", "int4"), ("int8", "int4"), ("int8", "float8"), ("int8", "numeric"),
         ("float8", "int4"), ("float8", "int8"), ("float8", "numeric"), ("numeric", "int4"),
         ("numeric", "int8"), ("numeric", "float8"), ("timestamptz", "date"),
         ("date", "timestamptz"), ("jsonb", "bool"), ("jsonb", "int4"), ("jsonb", "numeric"),
         ("jsonb", "float8"), ("jsonb", "int8")] + [(t, "text") for t in SOME if t != "text"]


def ask_casts(w, r):
    for source, target in CASTS:
        for _ in times(25):
            w.cast(source, target, SOME[source](r))
    for value in ["0.5", "1.5", "2.5", "-0.5", "-1.5", "2147483647.4", "2147483647.5",
                  "-2147483648.5", "9223372036854775807", "1e20", "123456.789012345678"]:
        for target in ("int4", "int8", "numeric"):
            w.cast("float8", target, value)
        for target in ("int4", "int8", "float8"):
            w.cast("numeric", target, value)


def ask_arithmetic(w, r):
    for kind in ("int4", "int8", "float8", "numeric"):
        for name in ["+", "-", "*", "/"] + (["%"] if kind != "float8" else []):
            for _ in times(70):
                w.operator(name, (kind, SOME[kind](r)), (kind, SOME[kind](r)))
        for _ in times(10):
            w.unary("-", (kind, SOME[kind](r)))
        w.operator("+", (kind, NULL), (kind, "1"))
    for _ in times(150):
        w.operator("/", ("numeric", some_numeric(r, 12)), ("numeric", some_numeric(r, 12)))
        w.operator("*", ("numeric", some_numeric(r, 18)), ("numeric", some_numeric(r, 18)))
    for kind in SOME:
        for name in ("=", "<>", "<", "<=", ">", ">="):
            for _ in times(22):
                value = SOME[kind](r)
                w.operator(name, (kind, value),
                           (kind, value if r.random() < 0.3 else SOME[kind](r)))
    for _ in times(40):
        w.operator("=", ("numeric", some_numeric(r, 3)), ("numeric", some_numeric(r, 3) + ""))
        w.operator("<", ("numeric", some_numeric(r, 30)), ("numeric", some_numeric(r, 30)))


def ask_math(w, r):
    for name in ("abs", "ceil", "floor", "round", "trunc", "sign", "sqrt"):
        for kind in ("float8", "numeric"):
            for _ in times(22):
                w.function(name, (kind, SOME[kind](r)))
    for name in ("exp", "ln", "log", "cbrt", "degrees", "radians", "sin", "cos", "tan", "asin",
                 "acos", "atan"):
        for _ in times(12):
            w.function(name, ("float8", SOME["float8"](r) if r.random() < 0.5
                              else repr(round(r.uniform(-2, 2), 4))))
    for _ in times(60):
        w.function("power", ("float8", repr(round(r.uniform(-5, 5), 2))),
                   ("float8", repr(float(r.randint(-5, 5)) / r.choice([1, 1, 2]))))
        w.function("round", ("numeric", some_numeric(r)), ("int4", str(r.randint(-6, 10))))
        w.function("trunc", ("numeric", some_numeric(r)), ("int4", str(r.randint(-6, 10))))
        w.function("mod", ("int4", some_int(r, 32)), ("int4", some_int(r, 32)))
        w.function("div", ("numeric", some_numeric(r, 8)), ("numeric", some_numeric(r, 4)))
    for kind in ("int4", "int8"):
        for _ in times(15):
            w.function("abs", (kind, SOME[kind](r)))
    for _ in times(30):
        w.function("width_bucket", ("float8", repr(round(r.uniform(-2, 12), 2))), ("float8", "0"),
                   ("float8", r.choice(["10", "-3", "0"])), ("int4", str(r.randint(0, 7))))
    for kind in ("int4", "float8", "numeric", "text", "timestamptz"):
        for _ in times(10):
            args = [(kind, SOME[kind](r) if r.random() < 0.8 else NULL) for _ in range(3)]
            w.function("greatest", *args)
            w.function("least", *args)
            w.function("nullif", args[0], r.choice(args))


def ask_text(w, r):
    def text():
        return ("text", some_text(r))

    def small():
        return ("int4", str(r.randint(-5, 8)))

    for _ in times(45):
        for name in ("lower", "upper", "length", "octet_length", "reverse", "md5", "btrim", "ltrim",
                     "rtrim", "initcap", "ascii"):
            w.function(name, text())
        for name in ("left", "right", "substr", "lpad", "rpad", "repeat"):
            w.function(name, text(), small())
        w.function("substr", text(), small(), small())
        for name in ("lpad", "rpad"):
            w.function(name, text(), small(), ("text", r.choice(["xy", "", "é", "*"])))
        for name in ("btrim", "ltrim", "rtrim"):
            w.function(name, text(), ("text", r.choice(["a", " x", "", "aé", "abcxyz"])))
        w.function("replace", text(), ("text", r.choice(["a", "", "xy", "l", "é"])), text())
        w.function("translate", text(), ("text", r.choice(["abc", "aé", "xyz", "", "aab"])),
                   ("text", r.choice(["123", "x", "", "日本"])))
        w.function("strpos", text(), ("text", r.choice(["", "a", "b", "lo", "é", "本", "zz"])))
        w.function("split_part", text(), ("text", r.choice([",", "", "x", " ", "--"])), small())
        w.function("starts_with", text(), ("text", r.choice(["", "a", "he", "日"])))
        w.operator("||", text(), text())
    for pattern in ["%", "", "a%", "%c", "%b%", "a_c", "_", "__", "%l%o%", "h%d", "a\\%b", "%\\_%",
                    "日%", "%ト", "%é%", "_aïve%", "%%", "%_", "abc", "ABC", "%a%b%c%",
                    "%x%y%x"]:
        for _ in times(14):
            w.operator(r.choice(["~~", "!~~", "~~*", "!~~*"]), text(), ("text", pattern))
    for pattern in ["^a", "c$", "b+", "^$", "[a-c]+", "(a|x)y?", "\\d+", "\\s", "^h.*d$", "é",
                    "\\w+",
                    "a{2,}", ".", "^[A-Z]+$", "(?i)HELLO", "\\mworld\\M", "x*"]:
        for _ in times(10):
            w.operator(r.choice(["~", "~*", "!~", "!~*"]), text(), ("text", pattern))
            w.function("regexp_replace", text(), ("text", pattern),
                       ("text", r.choice(["#", "[\\&]", "", "\\\\"])))
            w.function("regexp_replace", text(), ("text", pattern), ("text", "<\\&>"),
                       ("text", r.choice(["g", "gi", "i"])))
        w.function("regexp_count", text(), ("text", pattern))
        w.function("regexp_substr", text(), ("text", pattern))
    for pattern in ["(", "[a", "*a"]:
        w.operator("~", ("text", "abc"), ("text", pattern))
    for kind in SOME:
        for _ in times(6):
            w.function("concat", ("text", "<"), (kind, SOME[kind](r)), (kind, NULL))
            w.function("concat_ws", ("text", "/"), (kind, SOME[kind](r)), ("text", "x"),
                       (kind, NULL))
            w.operator("||", ("text", "v="), (kind, SOME[kind](r))) if kind != "jsonb" else None
    for number in ("0", "65", "233", "26085", "128512", "-1", "1114112"):
        w.function("chr", ("int4", number))
    for number in ("0", "255", "-1", "2147483647"):
        w.function("to_hex", ("int4", number))


FIELDS = ["microseconds", "milliseconds", "second", "minute", "hour", "day", "week", "month",
          "quarter", "year", "decade", "century", "millennium", "isoyear", "dow", "isodow", "doy",
          "epoch", "julian", "timezone", "bogus"]
TRUNCS = ["microseconds", "milliseconds", "second", "minute", "hour", "day", "week", "month",
          "quarter",
          "year", "decade", "century", "millennium", "bogus", "dow"]
FORMATS = ["YYYY-MM-DD HH24:MI:SS", "YYYY-MM-DD\"T\"HH24:MI:SS.MS", "Day, DD Month YYYY",
           "FMDay, FMDD FMMonth", "HH12:MI:SS AM", "hh:mi a.m.", "Dy Mon DDth", "DDD D ID J",
           "IYYY-IW", "Q WW W CC", "US", "YY Y YYY Y,YYY", "TZ tz OF", "SSSS", "FMHH24:FMMI",
           "MON mon MONTH month", "DY dy DAY day", "\"quoted YYYY\" YYYY", "IYY IY I FF1 FF3 FF6",
           "q ww w iw cc j d ddd id", "BC ad RM FMRM rm", "TZH TZM SSSSS IDDD",
           "yyyy yyy yy y iyyy", "th: DDth DDTH FMDDth"]


def ask_times(w, r):
    def stamp():
        return ("timestamptz", some_timestamp(r))

    def finite():
        while True:
            value = some_timestamp(r)
            if "infinity" not in value:
                return ("timestamptz", value)

    def span():
        return ("interval", some_interval(r))

    for _ in times(70):
        w.operator("+", stamp(), span())
        w.operator("-", stamp(), span())
        w.operator("-", stamp(), stamp())
        w.operator("-", ("date", some_date(r)), ("date", some_date(r)))
        w.operator("+", ("date", some_date(r)), ("int4", str(r.randint(-10000, 10000))))
        w.operator("-", ("date", some_date(r)), ("int4", some_int(r, 32)))
        w.operator("+", span(), span())
        w.operator("-", span(), span())
        w.operator("*", span(), ("float8", repr(round(r.uniform(-4, 4), 2))))
        w.operator("/", span(), ("float8", repr(float(r.randint(-3, 7)))))
        w.function("age", finite(), finite())
        w.function("date_bin", ("interval", r.choice(["5 minutes", "1 hour", "1 day", "7 days", "0",
                                                      "1 month", "-1 hour", "1 day 1 second"])),
                   stamp(), ("timestamptz", "2020-01-01 00:00:30+00"))
    for _ in times(15):
        w.unary("-", span())
        w.function("justify_hours", span())
        w.function("justify_days", span())
        w.function("to_timestamp", ("float8", r.choice(
            [repr(r.uniform(-1e9, 4e9)), "0", "1.5", "NaN", "Infinity", "1e300",
             "1700000000.123456"])))
        w.function("make_date", ("int4", str(r.randint(-1, 3000))), ("int4", str(r.randint(0, 13))),
                   ("int4", str(r.randint(0, 32))))
        w.function("isfinite", stamp())
    for field in FIELDS:
        for kind in ("timestamptz", "date", "interval"):
            for _ in times(6):
                value = (kind, SOME[kind](r))
                w.function("date_part", ("text", field), value)
                if field.isalpha():
                    w.case("fn", "extract", "extract(%s from {1})" % field,
                           [("text", field), value])
    for field in TRUNCS:
        for _ in times(9):
            w.function("date_trunc", ("text", field), stamp())
            w.function("date_trunc", ("text", field), span())
    for form in FORMATS:
        for _ in times(6):
            w.function("to_char", stamp(), ("text", form))


def ask_json(w, r):
    def json():
        return ("jsonb", some_json(r))

    for _ in times(80):
        w.operator("->", json(), ("text", r.choice(["a", "b", "bb", "é", "", "zz"])))
        w.operator("->>", json(), ("text", r.choice(["a", "b", "bb", "é", "", "zz"])))
        w.operator("->", json(), ("int4", str(r.randint(-3, 3))))
        w.operator("->>", json(), ("int4", str(r.randint(-3, 3))))
        w.operator("?", json(), ("text", r.choice(["a", "b", "é"])))
        w.operator("@>", json(), json())
        w.operator("||", json(), json())
        w.function("jsonb_typeof", json())
        w.function("jsonb_array_length", json())
        w.function("jsonb_extract_path_text", json(), ("text", r.choice(["a", "0", "b"])),
                   ("text", r.choice(["a", "0", "-1", "b"])))
    for _ in times(30):
        w.operator("-", json(), ("text", r.choice(["a", "b"])))
        value = json()
        w.operator("@>", value, value)
    for kind in SOME:
        for _ in times(4):
            w.function("to_jsonb", (kind, SOME[kind](r)))
            w.function("jsonb_build_array", (kind, SOME[kind](r)), (kind, NULL))
            w.function("jsonb_build_object", ("text", "k"), (kind, SOME[kind](r)))


# ---- the narrower types, and those that are another one without its zone: files of their own ----

def some_float4(r):
    pick = r.random()
    if pick < 0.3:
        return r.choice(["0", "-0", "1", "-1", "NaN", "Infinity", "-Infinity", "0.1", "3.4e38",
                         "1e-45", "2.5", "3.5", "-2.5", "1e6", "999999", "16777216", "16777217"])
    if pick < 0.6:
        return repr(round(r.uniform(-1000, 1000), r.randint(0, 6)))
    return repr(r.uniform(-1, 1) * 10.0 ** r.randint(-40, 37))


def some_time(r):
    if r.random() < 0.15:
        return r.choice(["00:00:00", "24:00:00", "23:59:59.999999", "12:00:00"])
    text = "%02d:%02d:%02d" % (r.randint(0, 23), r.randint(0, 59), r.randint(0, 59))
    return text + (".%d" % r.randint(0, 999999) if r.random() < 0.5 else "")


def some_uuid(r):
    text = "%032x" % r.choice([0, 1, 2 ** 128 - 1, 2 ** 127, r.getrandbits(128)])
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def some_bytea(r):
    return "\\x" + "".join(r.choice(["00", "01", "7f", "80", "ff", "61", "62", "5c"])
                           for _ in range(r.choice([0, 1, 2, 3, 5, 60])))


NARROW = {
    "int2": lambda r: some_int(r, 16),
    "float4": some_float4,
    "timestamp": lambda r: some_timestamp(r).replace("+00", ""),
    "time": some_time,
    "uuid": some_uuid,
    "bytea": some_bytea,
}

NARROW_INPUTS = {
    "int2": ["0", " 42 ", "-0", "+7", "32767", "32768", "-32768", "-32769", "", "1.0", "abc",
             "99999999999999999999"],
    "float4": ["1", "1e10", ".5", "5.", ".", "nan", "-Infinity", "1e39", "1e-46", "7e-46",
               "7.006492321624086e-46", "3.4028235677973366e38", "3.4028235677973365e38",
               "1.000000059604644775390625", "1.0000000596046447753906251", "0x1p3", "1e", "",
               " 2.5 ", "16777217", "123456", "1234567", "0.0001", "0.00001", "1_000", "8388608.5",
               "33554430", "33554431", "1.17549435e-38", "1.4e-45", "9.9999999e30"],
    "timestamp": INPUTS["timestamptz"],
    "time": ["04:05", "04:05:06.789", "040506", "0405", "04", "4:5", "4:5:6", "04:05 PM",
             "12:00 AM", "12:00 PM", "13:00 PM", "24:00", "24:00:00.1", "24:00:01", "23:59:60",
             "23:59:60.5", "23:59:59.9999999", "23:59:59.9999995", "25:00", "10:60", "10:10:61",
             "allballs", "04:05:06-08:00", "04:05:06 UTC", "04:05:06 z", "T040506",
             "2003-04-12 04:05:06", "2003-04-12 04:05:06+03", "2020-01-01", "2020-02-30 04:05",
             "infinity", "", "x", "1 2", "-04:05", " 04:05 ", "04:05:06.5.5", "10.5",
             "04:05:06+25", "04:05:06.1234567", "Jan 5 2020 10:00"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
             "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "a0eebc999c0b4ef8bb6d6bb9bd380a11",
             "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11", "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
             "", "{}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
             "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
             "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380g11", " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
             "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
             "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11", "a0e-ebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
             "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-", "-a0eebc999c0b4ef8bb6d6bb9bd380a11"],
    "bytea": ["", "hi", "\\x", "\\x6869", "\\X6869", "\\x68 69", "\\x6 869", "\\x686", "\\x6g",
              "\\xé0", "a\\\\b", "a\\001b", "a\\400", "a\\01", "a\\", "\\\\", "é", "\\377",
              "a\\9", "\\x\n68"],
}

NARROW_CASTS = [("int2", t) for t in ("int4", "int8", "float4", "float8", "numeric")] + \
    [(t, "int2") for t in ("int4", "int8", "float4", "float8", "numeric", "jsonb")] + \
    [(t, "float4") for t in ("int4", "int8", "float8", "numeric", "jsonb")] + \
    [("float4", t) for t in ("int4", "int8", "float8", "numeric")] + \
    [("date", "timestamp"), ("timestamp", "timestamptz"), ("timestamptz", "timestamp"),
     ("timestamp", "date"), ("timestamp", "time"), ("timestamptz", "time"), ("time", "interval"),
     ("interval", "time")] + [(t, "text") for t in NARROW]


def ask_narrow(w, r):
    some = {**SOME, **NARROW}
    for kind, texts in NARROW_INPUTS.items():
        for text in texts:
            w.read(kind, text)
        for _ in times(60):
            w.read(kind, some[kind](r))
    for _ in times(200):
        w.read("float4", repr(math.ldexp(r.random(), r.randint(-150, 128))))
        w.read("float4", repr(2.0 ** r.randint(-149, 127)))
    for source, target in NARROW_CASTS:
        for _ in times(25):
            w.cast(source, target, some[source](r))
    for value in ["0.5", "1.5", "2.5", "-0.5", "32767.4", "32767.5", "-32768.5", "1e20"]:
        for source in ("float4", "float8", "numeric"):
            w.cast(source, "int2", value)
    ask_narrow_calls(w, r, some)


def ask_narrow_calls(w, r, some):
    for kind in ("int2", "float4"):
        for name in ["+", "-", "*", "/"] + (["%"] if kind == "int2" else []):
            for _ in times(60):
                w.operator(name, (kind, some[kind](r)), (kind, some[kind](r)))
        for _ in times(10):
            w.unary("-", (kind, some[kind](r)))
            w.function("abs", (kind, some[kind](r)))
    for kind in NARROW:
        for name in ("=", "<>", "<", "<=", ">", ">="):
            for _ in times(20):
                value = some[kind](r)
                w.operator(name, (kind, value),
                           (kind, value if r.random() < 0.3 else some[kind](r)))
    for _ in times(60):
        for name, left, right in (("+", "timestamp", "interval"), ("-", "timestamp", "interval"),
                                  ("-", "timestamp", "timestamp"), ("+", "interval", "timestamp"),
                                  ("+", "date", "interval"), ("-", "date", "interval"),
                                  ("+", "interval", "date"), ("+", "date", "time"),
                                  ("+", "time", "date"), ("+", "time", "interval"),
                                  ("-", "time", "interval"), ("+", "interval", "time"),
                                  ("-", "time", "time"), ("||", "bytea", "bytea")):
            w.operator(name, (left, some[left](r)), (right, some[right](r)))
    for field in ("microseconds", "millisecond", "second", "minute", "hour", "day", "week", "epoch",
                  "year", "julian", "timezone", "foo", "century"):
        for kind in ("timestamp", "time"):
            for _ in times(4):
                w.function("date_part", ("text", field), (kind, some[kind](r)))
        for _ in times(4) if field != "timezone" else ():
            w.function("date_trunc", ("text", field), ("timestamp", some["timestamp"](r)))
    for _ in times(40):
        moments = [("timestamp", some["timestamp"](r)) for _ in range(2)]
        if not any("infinity" in text for _, text in moments):
            w.function("age", *moments)
        w.function("to_char", ("timestamp", some["timestamp"](r)),
                   ("text", r.choice(["YYYY-MM-DD HH24:MI:SS.US", "TZ|", "Day Mon"])))
        w.function("make_time", ("int4", str(r.randint(-1, 25))), ("int4", str(r.randint(0, 60))),
                   ("float8", repr(round(r.uniform(0, 61), 3))))
        for name in ("length", "octet_length", "bit_length", "md5"):
            w.function(name, ("bytea", some_bytea(r)))
        for name in ("sha224", "sha256", "sha384", "sha512"):
            w.function(name, ("bytea", some_bytea(r)))
        w.function("substr", ("bytea", some_bytea(r)), ("int4", str(r.randint(-3, 6))))
        w.function("substr", ("bytea", some_bytea(r)), ("int4", str(r.randint(-3, 6))),
                   ("int4", str(r.randint(-1, 6))))
        encoding = r.choice(["hex", "base64", "escape", "HEX", "x"])
        w.function("encode", ("bytea", some_bytea(r)), ("text", encoding))
        w.function("decode", ("text", r.choice(["6869", "QUJD", "QQ==", "QQ=", "QU=D", "6", "a b",
                                                "=", "Q===", "QQ==QUJD", "\\001", "é"])),
                   ("text", encoding))


# ---- functions of later: numbers, documents, paths, templates ----

PATHS = ["$", "$.a", "$.a.b", "$[*]", "$.*", "$.a[*]", "$[0]", "$[last]", "$[0 to 1]", "$.**",
         "$.**{1}", "$.**{last}", "$[*] ? (@ > 1)", "$.* ? (@.type() == \"string\")", "$.size()",
         "$[*].size()", "$.type()", "$.a + 1", "$.a * 2 - 1", "$.c % 3", "$.a / 4",
         "strict $.a", "strict $[*].a", "lax $.bb.aa", "$ ? (exists (@.a))", "$.a == 1",
         "$[*] ? (@ like_regex \"^a\")", "$.* ? (@ starts with \"q\")", "$.a ? (@ == null)",
         "$.bb[1 to last]", "$.a.double()", "$[*].abs()", "$.c.ceiling()", "$.c.floor()",
         "$ ? (@.a > 0 && @.c < 5)", "$ ? (!(@.a > 0) || @.c == true)", "$.\"key one\"",
         "($.a > 1) is unknown", "$[*] ? ((@ > 1) is unknown)", "1", "\"x\"", "null",
         "$ ? (@.a == $x)", "$[1, 0]", "$[-1]", "$.aa.type()"]

NUMBER_TEMPLATES = ["999", "9999.99", "0000", "009.90", "FM999.99", "FM990.00", "9,999,999",
                    "FM9,999", "S999", "999S", "999MI", "FM999MI", "PL999", "SG99.9", "999PR",
                    "FM999PR", "99G999D99", "FM0.000", "9", "FM9", ".99", "RN", "FMRN",
                    "999th", "9999TH", "99V99", "0,000.00", "S0.9", "FMS999.9", "\"n:\"999",
                    "L999", "9 9 9", "990D9", "FM999999990.0099"]

DATE_TEMPLATES = [("2024-03-05", "YYYY-MM-DD"), ("05 Mar 2024", "DD Mon YYYY"),
                  ("March 5, 2024", "Month DD, YYYY"), ("20240305", "YYYYMMDD"),
                  ("5/3/24", "DD/MM/YY"), ("2024-065", "YYYY-DDD"), ("99-12-31", "YY-MM-DD"),
                  ("2024-13-01", "YYYY-MM-DD"), ("2024-02-30", "YYYY-MM-DD"),
                  ("x2024", "YYYY"), ("2024", "YYYY"), ("2024 07", "YYYY MM"),
                  ("2024-W10-2", "IYYY-\"W\"IW-ID"), ("2460375", "J"), ("Tuesday 05", "Day DD"),
                  ("070", "YYY"), ("1,999", "Y,YYY"), ("2024/3/5", "YYYY-MM-DD"), ("", "YYYY")]
TIME_TEMPLATES = [("2024-03-05 17:04:05", "YYYY-MM-DD HH24:MI:SS"),
                  ("2024-03-05 05:04:05 PM", "YYYY-MM-DD HH12:MI:SS AM"),
                  ("2024-03-05 17:04:05.123456", "YYYY-MM-DD HH24:MI:SS.US"),
                  ("2024-03-05 17:04:05.12", "YYYY-MM-DD HH24:MI:SS.MS"),
                  ("20240305170405", "YYYYMMDDHH24MISS"), ("2024-03-05 25", "YYYY-MM-DD HH24"),
                  ("2024-03-05 17:04 +02", "YYYY-MM-DD HH24:MI TZH"),
                  ("2024-03-05 13 PM", "YYYY-MM-DD HH12 PM"),
                  ("05/Mar/2024:17:04:05", "DD/Mon/YYYY:HH24:MI:SS"),
                  ("2024-03-05 61234", "YYYY-MM-DD SSSS")]
KEYS = ["{a}", "{a,b}", "{bb,0}", "{0}", "{-1}", "{1,a}", "{}", "{x}", "{5}", "{c,aa}", "{a,x,y}",
        "{NULL}"]


def ask_numbers(w, r):
    """function_number.c"""
    some = SOME
    for name in ("sinh", "cosh", "asinh", "acosh", "atanh", "cot", "asind", "acosd", "atand"):
        for _ in times(20):
            w.function(name, ("float8", r.choice([repr(round(r.uniform(-1.2, 1.2), 3)),
                                                  repr(round(r.uniform(-30, 30), 2)), "0", "1",
                                                  "-1", "0.5", "-0.5", "NaN", "Infinity"])))
    for name in ("sind", "cosd", "tand", "cotd"):
        for _ in times(40):
            w.function(name, ("float8", str(r.choice([r.randint(-24, 24) * 15, r.randint(-500, 500),
                                                      "NaN", "Infinity", "0.5"]))))
    for _ in times(30):
        w.function("atan2d", ("float8", repr(round(r.uniform(-3, 3), 1))),
                   ("float8", repr(round(r.uniform(-3, 3), 1))))
        for kind in ("int4", "int8", "numeric"):
            for name in ("gcd", "lcm"):
                values = [some[kind](r) if r.random() < 0.3 else str(r.randint(-40, 400) * 6)
                          for _ in range(2)]
                w.function(name, *[(kind, v) for v in values])
        for name in ("trim_scale", "min_scale"):
            w.function(name, ("numeric", some["numeric"](r)))
        bounds = [str(r.randint(-20, 60)), str(r.randint(-20, 60))]
        w.function("width_bucket", ("numeric", "%.2f" % r.uniform(-30, 70)),
                   ("numeric", bounds[0]), ("numeric", bounds[1]),
                   ("int4", str(r.randint(-1, 12))))
    for n in range(-1, 34):
        w.function("factorial", ("int8", str(n)))


def ask_strings(w, r):
    """function_string.c, function_format.c, function_calendar.c"""
    some = SOME
    for _ in times(30):
        for name in ("quote_ident", "quote_literal"):
            w.function(name, ("text", r.choice([some["text"](r), "select", "back\\slash", "it's",
                                                "Table", "a1", "1a", "between"])))
        w.function("overlay", ("text", some["text"](r)), ("text", some["text"](r)),
                   ("int4", str(r.randint(-1, 8))))
        w.function("overlay", ("text", some["text"](r)), ("text", some["text"](r)),
                   ("int4", str(r.randint(0, 8))), ("int4", str(r.randint(-2, 6))))
        template = r.choice(["%s", "%I", "%L", "%%", "a %s b %s", "%2$s %1$s", "%10s|", "%-10s|",
                             "%*s|", "%", "%x", "%1$", "%0$s", "%3$s", "%1$L %I"])
        w.function("format", ("text", template), ("text", some["text"](r)),
                   ("int4", str(r.randint(-5, 12))))
        w.function("bit_count", ("bytea", "\\x" + "".join(r.choice("0123456789abcdef")
                                                          for _ in range(8))))
    for template in NUMBER_TEMPLATES:
        for _ in times(12):
            value = r.choice(["%d" % r.randint(-9, 9), "%.2f" % r.uniform(-1200, 1200), "0",
                              "%.3f" % r.uniform(-1, 1), "%d" % r.randint(-99999, 99999), "485",
                              "0.5", "-0.5", "12", "3999", "111", "1000000"])
            w.function("to_char", ("numeric", value), ("text", template))
            if "." not in value:
                w.function("to_char", ("int4", value), ("text", template))
            w.function("to_char", ("float8", value), ("text", template))
    patterns = ["a", "b+", "(a)(b)?", "[a-c]", "x*", "^a", ".", "é", "(b)|(c)"]
    for _ in times(60):
        text = ("text", r.choice(["abcabc", "xaybzc", "", "aaa", "ébcé", some["text"](r)]))
        pattern = ("text", r.choice(patterns))
        flags = ("text", r.choice(["", "i", "g"]))
        numbers = [("int4", str(r.randint(0, 5))) for _ in range(4)]
        w.function("regexp_count", text, pattern, numbers[0], flags)
        w.function("regexp_count", text, pattern, numbers[0])
        w.function("regexp_substr", *[text, pattern, numbers[0], numbers[1], flags,
                                      numbers[2]][:r.randint(3, 6)])
        w.function("regexp_instr", *[text, pattern, numbers[0], numbers[1],
                                     ("int4", str(r.randint(0, 1))), flags,
                                     numbers[2]][:r.randint(2, 7)])
        w.function("regexp_replace", *[text, pattern, ("text", r.choice(["-", "<\\1>", "\\&"])),
                                       numbers[0], numbers[1], flags][:r.randint(4, 6)])
    for text, template in (("12,454.8-", "99G999D9S"), ("1,234", "9,999"), ("-12.50", "99.99"),
                           ("12", "999"), ("<123>", "999PR"), ("0012", "0000"), ("  7", "999"),
                           ("3.14159", "9.99"), ("1 2", "99"), ("", "99"), ("x", "9"),
                           ("1,234,567.89", "9,999,999.99"), ("$12", "L99"), ("-5", "S9"),
                           ("12345", "999")):
        w.function("to_number", ("text", text), ("text", template))
    for text, template in DATE_TEMPLATES:
        w.function("to_date", ("text", text), ("text", template))
    for text, template in DATE_TEMPLATES + TIME_TEMPLATES:
        w.function("to_timestamp", ("text", text), ("text", template))
    for _ in times(30):
        w.function("justify_interval", ("interval", some["interval"](r)))
        parts = [("int4", str(r.randint(-40, 40))) for _ in range(6)]
        parts.append(("float8", repr(round(r.uniform(-100, 100), r.randint(0, 6)))))
        w.function("make_interval", *parts[:r.randint(1, 7)])
        moments = [some["timestamptz"](r).replace("+00", "") for _ in range(4)]
        if r.random() < 0.5:
            moments = ["2024-01-%02d" % r.randint(1, 9) for _ in range(4)]
        moments = [NULL if r.random() < 0.1 else m for m in moments]
        for kind in ("timestamp", "timestamptz"):
            w.function("overlaps", *[(kind, m) for m in moments])
            w.function("overlaps", (kind, moments[0]), ("interval", some["interval"](r)),
                       (kind, moments[2]), ("interval", some["interval"](r)))


def ask_documents(w, r):
    """function_document.c, function_jsonpath.c"""
    some = SOME["jsonb"]
    for _ in times(80):
        for name in ("jsonb_set", "jsonb_insert"):
            w.function(name, ("jsonb", some(r)), ("_text", r.choice(KEYS)), ("jsonb", some(r)))
            w.function(name, ("jsonb", some(r)), ("_text", r.choice(KEYS)), ("jsonb", some(r)),
                       ("bool", r.choice(["true", "false"])))
        w.function("jsonb_set_lax", ("jsonb", some(r)), ("_text", r.choice(KEYS)),
                   ("jsonb", r.choice([NULL, some(r)])), ("bool", "true"),
                   ("text", r.choice(["use_json_null", "delete_key", "return_target",
                                      "raise_exception", "x"])))
        w.operator("#-", ("jsonb", some(r)), ("_text", r.choice(KEYS)))
        w.operator("-", ("jsonb", some(r)), ("int4", str(r.randint(-3, 3))))
        for name in ("-", "?|", "?&"):
            w.operator(name, ("jsonb", some(r)), ("_text", r.choice(["{a}", "{a,b}", "{}", "{bb}",
                                                                     "{c,aa}"])))
        for name in ("jsonb_strip_nulls", "jsonb_pretty"):
            w.function(name, ("jsonb", some(r)))
        w.function("jsonb_object", ("_text", r.choice(["{a,1,b,2}", "{}",
                                                       "{{a,1},{b,NULL}}", "{a,NULL}",
                                                       "{NULL,a}"])))
        w.function("jsonb_object", ("_text", r.choice(["{a,b}", "{a,NULL}", "{a,a}"])),
                   ("_text", r.choice(["{1,2}", "{2,1}", "{NULL,x}"])))
    for path in PATHS:
        for _ in times(10):
            document = ("jsonb", some(r))
            for name in ("jsonb_path_exists", "jsonb_path_query_first", "jsonb_path_query_array",
                         "jsonb_path_match"):
                w.case("fn", name, name + "({0}, {1}::jsonpath)", [document, ("text", path)])
            w.case("fn", "jsonb_path_query_array", "jsonb_path_query_array({0}, {1}::jsonpath, "
                   "{2}, {3})", [document, ("text", path), ("jsonb", '{"x": 1}'),
                                 ("bool", "true")])


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "test/unit/type/cases"
    OPTIONS["scale"] = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    OPTIONS["seed"] = int(sys.argv[3]) if len(sys.argv) > 3 else SEED
    folder.mkdir(parents=True, exist_ok=True)
    with Server() as server:
        for name, ask in (("inputs", ask_inputs), ("casts", ask_casts),
                          ("arithmetic", ask_arithmetic), ("math", ask_math), ("text", ask_text),
                          ("times", ask_times), ("json", ask_json),
                          ("narrow", ask_narrow), ("numbers", ask_numbers),
                          ("strings", ask_strings), ("documents", ask_documents)):
            w = Writer(server, folder, name)
            ask(w, random.Random(OPTIONS["seed"]))
            w.close()


if __name__ == "__main__":
    main()
