#!/ usr / bin / python3
"""Writes test/unit/wire/cases/json.tsv: JSON texts and what Python's json makes of them.

usage: test/oracle/gen_json_cases.py > test/unit/wire/cases/json.tsv

Each line: the text in hexadecimal, then `bad` (not JSON, or not an object that fits the columns) or
the row's columns in the order of COLUMNS, separated by blanks: `-` for NULL, text in hexadecimal
with a leading `x`, float8 as Python's float.hex(), the rest as integers (timestamptz in
microseconds, date in days, bool 0/1).

The seed is fixed, so that the file can be made again.
"""
import datetime
import json
import random
import re
import sys

CASES = 1400
SEED = 20260101
COLUMNS = ("s", "i", "k", "f", "b", "t", "d")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
DEPTH_MAX = 256


class Refused(Exception):
    """What Python's parser takes and Tidemill's rules do not."""


def constant(name):
    raise Refused(name)


class Unknown(Exception):
    """A date in a form that PostgreSQL may read and Python does not: no case is made of it."""


class Number:
    """A number's text: Python's int and float are made of it only where a column needs one."""

    def __init__(self, text):
        self.text = text


def check(value, depth=1):
    """Rules beyond Python's: no lone surrogates, bounded depth."""
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, Number):
        return
    elif isinstance(value, list):
        if depth > DEPTH_MAX:
            raise Refused("depth")
        for item in value:
            for part in item if isinstance(item, tuple) else (item,):
                check(part, depth + 1)


def whole(number, low, high):
    text = number.text
    match = re.fullmatch(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?", text)
    sign, digits, fraction, exponent = match.groups()
    fraction = fraction or ""
    power = int(exponent or 0) - len(fraction)
    value = int(digits + fraction)
    if value == 0:
        return 0
    while value % 10 == 0 and power < 0:
        value, power = value // 10, power + 1
    if power < 0 or power > 30:
        raise Refused("not whole")
    value = value * 10 ** power * (-1 if sign else 1)
    if not low <= value <= high:
        raise Refused("range")
    return value


def timestamp(text):
    match = re.fullmatch(
        r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d(?::?\d\d)?)?",
        text if len(text) != 10 else text + " 00:00:00")
    if not match:
        raise Unknown(text)
    year, month, day, hour, minute, second = (int(g) for g in match.groups()[:6])
    micro = int((match.group(7) or "0").ljust(6, "0"))
    zone = match.group(8) or "Z"
    offset = 0
    if zone != "Z":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        if int(digits[:2]) > 15 or int(digits[2:]) > 59:
            raise Refused("zone")
        offset = (int(digits[:2]) * 60 + int(digits[2:])) * (-1 if zone[0] == "-" else 1)
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second, micro,
                                   tzinfo=datetime.timezone.utc)
    except ValueError:
        raise Refused("timestamp") from None
    delta = moment - EPOCH
    micros = (delta.days * 86400 + delta.seconds - offset * 60) * 1000000 + delta.microseconds
    if micros < -719162 * 86400 * 1000000:
        raise Refused("before year 1")
    return micros


def column(name, value):
    """One column's expected text."""
    if value is None:
        return "-"
    if name == "s" and isinstance(value, str):
        if "\0" in value:
            raise Refused("NUL")
        return "x" + value.encode().hex()
    if name in "ik" and isinstance(value, Number):
        bits = 63 if name == "i" else 31
        return str(whole(value, -2 ** bits, 2 ** bits - 1))
    if name == "f":
        if isinstance(value, Number):
            number = float(value.text)
            zero = re.fullmatch(r"-?[0.]+([eE].*)?", value.text) is not None
            if number in (float("inf"), float("-inf")) or (number == 0 and not zero):
                raise Refused("range")
            return number.hex()
        if value in ("NaN", "Infinity", "-Infinity"):
            return str(float(value))
    if name == "b" and isinstance(value, bool):
        return str(int(value))
    if name == "t" and isinstance(value, str):
        return str(timestamp(value))
    if name == "t" and isinstance(value, Number):
        return str(whole(value, -719162 * 86400000, 2 ** 63 // 1000 - 2) * 1000)
    if name == "d" and isinstance(value, str):
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            raise Unknown(value)
        try:
            return str((datetime.date.fromisoformat(value) - EPOCH.date()).days)
        except ValueError:
            raise Refused("date") from None
    raise Refused("type")


def expected(raw):
    try:
        text = raw.decode("utf-8")
        if text.lstrip(" \t\r\n")[:1] != "{":
            raise Refused("object")
        pairs = json.loads(text, object_pairs_hook=list, parse_int=Number, parse_float=Number,
                           parse_constant=constant)
        check(pairs)
        found = dict.fromkeys(COLUMNS, "-")
        for key, value in pairs:
            if key in found:
                found[key] = column(key, value)
        return " ".join(found[name] for name in COLUMNS)
    except (Refused, ValueError, RecursionError):
        return "bad"


class Maker:
    """Random objects, as several programs would write them."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, *choices):
        return self.random.choice(choices)

    def digits(self, most):
        n = self.random.randint(1, most)
        return "".join(self.random.choice("0123456789") for _ in range(n))

    def number(self):
        r = self.random
        kind = r.randrange(12)
        if kind < 3:
            return str(r.randint(-1000, 1000))
        if kind < 5:
            return repr(round(r.uniform(-100, 100), r.randint(0, 4)))
        if kind == 5:
            return repr(r.uniform(-1, 1) * 10 ** r.randint(-20, 20))
        if kind == 6:
            return self.pick("9223372036854775807", "-9223372036854775808", "9223372036854775808",
                             "2147483647", "-2147483648", "2147483648", "18446744073709551616",
                             "9007199254740993", "0", "-0", "0.0", "-0.0", "1e400", "1e-400",
                             "1.7976931348623157e308", "1.7976931348623159e308", "5e-324",
                             "2.2250738585072014e-308", "9223372036854775807.0", "1E3", "1.0e3",
                             "100e-2", "150e-2", "0.000000000000000000000000000012e30",
                             "123456789012345678901234567890", "1e18", "1e19", "1700000000000")
        text = self.pick("", "-") + (self.digits(22).lstrip("0") or "0")
        if r.randrange(2):
            text += "." + self.digits(22)
        if r.randrange(3) == 0:
            text += self.pick("e", "E") + self.pick("", "+", "-") + self.digits(2)
        return text

    def string_text(self):
        r = self.random
        alphabet = self.pick("abc-12 ", "aé€🌊ß", "\"\\/\b\f\n\r\t\u0001\u001f", "x\u0000y\x7f")
        size = self.pick(0, 1, 5, 7, 15, 16, 17, 31)
        text = "".join(r.choice(alphabet) for _ in range(size))
        return json.dumps(text, ensure_ascii=bool(r.randrange(2)))

    def time_text(self):
        r = self.random
        text = "%04d-%02d-%02d" % (r.choice((1, 1969, 1970, 2000, 2024, 2025, 2026, 9999)),
                                   r.randint(1, 12), r.choice((1, 15, 28, 28, 28, 28, 29, 30)))
        if r.randrange(6) == 0:
            return json.dumps(text)
        text += self.pick("T", " ") + "%02d:%02d:%02d" % (r.randint(0, 23), r.randint(0, 59),
                                                          r.randint(0, 59))
        if r.randrange(2):
            text += "." + self.digits(6)
        text += self.pick("", "Z", "+00", "+01:00", "-0530", "+15:59", "-12")
        return json.dumps(text)

    def value(self, depth):
        r = self.random
        kind = r.randrange(9 if depth < 4 else 6)
        if kind < 2:
            return self.number()
        if kind < 4:
            return self.string_text()
        if kind < 6:
            return self.pick("true", "false", "null")
        blank = self.pick("", " ", "\n\t")
        parts = []
        for _ in range(r.randrange(4)):
            item = self.value(depth + 1)
            if kind == 6:
                item = self.string_text() + blank + ":" + item
            parts.append(blank + item + blank)
        return ("{%s}" if kind == 6 else "[%s]") % ",".join(parts)

    def fitting(self, name):
        r = self.random
        if r.randrange(10) == 0:
            return "null"
        if name == "s":
            return self.string_text()
        if name in "ik":
            return self.number() if r.randrange(6) == 0 else str(r.randint(-50, 50))
        if name == "f":
            return self.pick(self.number(), self.number(), self.number(), '"NaN"', '"-Infinity"')
        if name == "b":
            return self.pick("true", "false")
        if name == "t":
            return self.pick(self.time_text(), self.time_text(), str(r.randint(0, 2 * 10 ** 12)))
        return json.dumps("%04d-%02d-%02d" % (r.randint(1, 9999), r.randint(1, 12),
                                              r.randint(1, 29)))

    def object(self):
        r = self.random
        style = r.randrange(4)
        colon, comma = ((":", ","), (": ", ", "), (" :\t", " ,\r\n"), (":", ", "))[style]
        names = [name for name in COLUMNS if r.randrange(4)]
        members = []
        for name in names:
            value = self.value(2) if r.randrange(60) == 0 else self.fitting(name)
            key = '"%s"' % name if r.randrange(15) else '"\\u%04x"' % ord(name)
            members.append(key + colon + value)
        while r.randrange(4) == 0:
            members.insert(r.randint(0, len(members)), self.string_text() + colon + self.value(2))
        if style:
            r.shuffle(members)
        return "{" + self.pick("", " ") + comma.join(members) + self.pick("", "\n") + "}"

    def case(self):
        """An object, in one of four cases with damaged bytes."""
        raw = bytearray(self.object().encode("utf-8", "surrogatepass"))
        r = self.random
        if r.randrange(4) == 0:
            for _ in range(r.randint(1, 2)):
                at = r.randrange(len(raw))
                what = r.randrange(4)
                if what == 0:
                    raw[at] = r.choice(b'"\\{}[],:0189.eE+-tfnu \n\x01\x80\xc0\xed\xff')
                elif what == 1:
                    del raw[at]
                elif what == 2:
                    raw[at:at] = bytes([r.choice(b'"\\{}[],:019.eEtfn \x00\xbf\xef')])
                else:
                    del raw[at:]
                if not raw:
                    break
        return bytes(raw)


FIXED = [
    b"", b"{}", b" { } ", b"[]", b"1", b'"a"', b"null", b"{", b"}", b'{"i":1', b'{"i":1}}',
    b'{"i":1}x',
    b'\xef\xbb\xbf{"i":1}', b'{"i":1,}', b'{,"i":1}', b'{"i" 1}', b'{"i":}', b'{"i":01}',
    b'{"i":+1}',
    b'{"i":.5}', b'{"f":1.}', b'{"f":1e}', b'{"f":-}', b'{"b":True}', b'{"b":truex}', b"{'i':1}",
    b'{"s":"\\ud83c\\udf0a"}', b'{"s":"\\ud83c"}', b'{"s":"\\udf0a"}', b'{"s":"\\ud83cx"}',
    b'{"s":"\\ud83c\\u0041"}', b'{"s":"\\uD83C\\uDF0A\\u00e9\\u0800\\u0041"}', b'{"s":"\\u00g0"}',
    b'{"s":"\\u12"}', b'{"s":"\\x41"}', b'{"s":"\xc0\x80"}', b'{"s":"\xed\xa0\x80"}',
    b'{"s":"\xf4\x90\x80\x80"}', b'{"s":"\xe2\x82"}', b'{"s":"a\x00b"}', b'{"s":"a\nb"}',
    b'{"u":"\\ud83c"}', b'{"u":"\xc0\x80"}', b'{"u":"a\x1fb"}', b'{"\\ud800":1}', b'{"u":NaN}',
    b'{"f":NaN}', b'{"f":Infinity}', b'{"i":1,"i":2}', b'{"i":1,"i":null}', b'{"i":null,"i":3}',
    b'{"u":' + b"[" * 255 + b"]" * 255 + b"}", b'{"u":' + b"[" * 256 + b"]" * 256 + b"}",
    b'{"u":' + b'{"a":' * 255 + b"1" + b"}" * 256, b'{"u":' + b'{"a":' * 256 + b"1" + b"}" * 257,
    b'{"u":' + b"[" * 100000, b'{"t":1700000000000}', b'{"t":1.7e12}', b'{"t":9223372036854776}',
    b'{"t":"2024-02-29T00:00:00Z"}', b'{"t":"2023-02-29T00:00:00Z"}',
    b'{"t":"2023-13-01T00:00:00Z"}',
]


def main():
    maker = Maker(SEED)
    cases = FIXED + [maker.case() for _ in range(CASES)]
    for raw in cases:
        if len(raw) > 5000 and raw.count(b"[") > 5000:
            raw = raw[:5000]
        try:
            sys.stdout.write(raw.hex() + "\t" + expected(raw) + "\n")
        except Unknown:
            continue


if __name__ == "__main__":
    main()
