#!/usr/bin/python3
"""Copy a static library with every global symbol renamed, except those of its interface.

usage: isolate_archive.py INPUT.a OUTPUT.a PREFIX

libpg_query carries PostgreSQL's internals with names such as hash_bytes or list_free. Linked as it
is, such a name either collides with one of ours or, worse, silently takes its place. Symbols that
begin with PREFIX keep their names; every other one that the library defines becomes
`PREFIX_internal_<name>`, in its definition and in all its uses. What the library takes from
elsewhere (libc, protobuf-c) is not touched.
"""
import os
import subprocess
import sys


def main(arguments):
    if len(arguments) != 3:
        sys.exit(__doc__)
    source, target, prefix = arguments
    listing = subprocess.run(["nm", "--extern-only", "--defined-only", "--format=posix", source],
                             check=True, capture_output=True, text=True).stdout
    names = {line.split()[0] for line in listing.splitlines() if len(line.split()) >= 2}
    kept = {name for name in names if name.startswith(prefix)}
    if not kept:
        sys.exit(f"isolate_archive.py: {source} defines nothing that begins with {prefix}")
    renames = target + ".renames"
    with open(renames, "w", encoding="ascii") as output:
        for name in sorted(names - kept):
            output.write(f"{name} {prefix}_internal_{name}\n")
    subprocess.run(["objcopy", f"--redefine-syms={renames}", source, target], check=True)
    os.remove(renames)


if __name__ == "__main__":
    main(sys.argv[1:])
