#!/usr/bin/python3
"""Sends JSON values to Tidemill, as any web hook or device would.

usage: post.py [--url URL] VALUE...      each VALUE is JSON; "-" reads one value a line from stdin
"""
import argparse
import json
import sys
import urllib.error
import urllib.request


def post(url, value):
    """The server's answer; it comes when the value is on disk."""
    request = urllib.request.Request(url, json.dumps(value).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--url", default="http://localhost:3000/data")
    parser.add_argument("values", nargs="+", metavar="VALUE")
    options = parser.parse_args()
    values = sys.stdin if options.values == ["-"] else options.values
    for text in values:
        try:
            print(json.dumps(post(options.url, json.loads(text))))
        except ValueError as error:
            sys.exit(f"not JSON: {text.strip()}: {error}")
        except urllib.error.HTTPError as error:
            sys.exit(f"refused: {error.read().decode()}")
        except OSError as error:
            sys.exit(f"no server at {options.url}: {error}")


if __name__ == "__main__":
    main()
