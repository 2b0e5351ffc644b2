"""tools/tidy finds each violation that it exists for, at its line, and nothing in clean code."""
import os
import shutil
import subprocess

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
MARK = "TO" + "DO"
MACHINE = "/wo" + "rk/main"

CLEAN_HEADER = """\
/* Things. */
#ifndef TIDEMILL_LOG_THING_H
#define TIDEMILL_LOG_THING_H
#include "base/err.h"

/* What a thing is. */
struct thing {
    int size;
};

/* Makes a thing; any thread. */
int thing_open(struct thing *t);
void thing_close(struct thing *t);

typedef int thing_function(struct thing *t);
static inline int thing_size(const struct thing *t)
{
    return t->size;
}

/* The vtable. */
struct thing_ops {
    int (*read)(struct thing *t);
};
extern const struct thing_ops thing_ops_real;

#endif
"""
CLEAN_SOURCE = """\
#include "log/thing.h"

#define EACH(x)  \\
    do {         \\
        (void)x; \\
    } while (0)

static const int sizes[] = {1, 2, 3};

/* Never strcpy(a, b), malloc(n) or open(path). */
int thing_open(struct thing *t)
{
    const char *text = "sprintf(x) { malloc(1)";
    t->size = sizes[0] + (int)text[0] + '{';
    return t->ops->read(t) + t->io.open(t) + log_open(t);
}
"""


@pytest.fixture(name="tree")
def fixture_tree(tmp_path):
    """A small tree without violations; the value writes a file into it."""
    def write(path, text):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            target.write_bytes(text)
        else:
            target.write_text(text, encoding="utf-8")

    write.root = tmp_path
    (tmp_path / "tools").mkdir()
    shutil.copy(os.path.join(ROOT, "tools", "layers.txt"), tmp_path / "tools")
    write("src/log/README.md", "# log\n")
    write("src/base/README.md", "# base\n")
    write("src/log/thing.h", CLEAN_HEADER)
    write("src/log/thing.c", CLEAN_SOURCE)
    return write


def tidy(tree, *files):
    """Status and list of violations."""
    run = subprocess.run([os.path.join(ROOT, "tools", "tidy"), "--root", str(tree.root), *files],
                         capture_output=True, text=True, check=False)
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, run.stdout.splitlines()


def expect(tree, start, words=""):
    """Exactly one violation, and it is this one."""
    status, found = tidy(tree)
    assert len(found) == 1, found
    assert found[0].startswith(start + ": "), found
    assert words in found[0]
    assert status == 1


def function(lines, head="int f(void)"):
    """A function of exactly `lines` lines."""
    return f"{head}\n{{\n" + "    g();\n" * (lines - 3) + "}\n"


def test_clean_tree_passes(tree):
    assert tidy(tree) == (0, [])


@pytest.mark.parametrize("call", [
    "strcpy(a, b)", "strcat(a, b)", "sprintf(a, b)", "vsprintf(a, b, c)", "alloca(1)", "gets(a)",
    "atoi(a)", "atol(a)", "atof(a)", "strtok(a, b)"])
@pytest.mark.parametrize("path", ["src/log/bad.c", "src/main.c", "test/unit/log/test_bad.c"])
def test_banned_everywhere(tree, path, call):
    tree(path, f"int f(void)\n{{\n    {call};\n}}\n")
    expect(tree, f"{path}:3", call.split("(", maxsplit=1)[0] + "()")


@pytest.mark.parametrize("call", [
    "malloc(1)", "calloc(1, 1)", "realloc(a, 1)", "free(a)", "strdup(a)"])
def test_allocation_belongs_to_base(tree, call):
    tree("src/base/good.c", f"int f(void)\n{{\n    {call};\n}}\n")
    tree("test/unit/log/test_good.c", f"int f(void)\n{{\n    {call};\n}}\n")
    assert tidy(tree) == (0, [])
    tree("src/log/bad.c", f"int f(void)\n{{\n    {call};\n}}\n")
    expect(tree, "src/log/bad.c:3", "base/")


@pytest.mark.parametrize("call", [
    "socket(1, 2, 3)", "open(p, 0)", "time(NULL)", "clock_gettime(0, t)", "rand()",
    "pthread_create(a, b, c, d)", "pthread_mutex_lock(m)", "fsync(1)", "x = read(1, b, 2)"])
def test_the_world_belongs_to_host(tree, call):
    tree("src/host/README.md", "# host\n")
    tree("src/host/good.c", f"int f(void)\n{{\n    {call};\n}}\n")
    tree("src/cli/README.md", "# cli\n")
    tree("src/cli/good.c", f"int f(void)\n{{\n    {call};\n}}\n")
    tree("bench/good.c", f"int f(void)\n{{\n    {call};\n}}\n")
    assert tidy(tree) == (0, [])
    tree("src/log/bad.c", f"int f(void)\n{{\n    {call};\n}}\n")
    expect(tree, "src/log/bad.c:3", "host/")


@pytest.mark.parametrize("target, words", [
    ("plan/plan.h", "above"), ("cli/demo.h", "above"), ("thing.h", "from src/"),
    ("../base/err.h", "from src/"), ("base/err_int.h", "private")])
def test_includes(tree, target, words):
    tree("src/log/bad.c", f'#include "base/err.h"\n#include "{target}"\n')
    expect(tree, "src/log/bad.c:2", words)


def test_main_and_tests_may_include_every_layer(tree):
    tree("src/main.c", '#include "serve/serve.h"\n#include "cli/demo.h"\n')
    tree("test/unit/log/test_x.c", '#include "serve/serve.h"\n#include "log/thing_int.h"\n')
    assert tidy(tree) == (0, [])


def test_file_length(tree):
    tree("src/log/good.c", "/* x */\n" * 1500)
    assert tidy(tree) == (0, [])
    tree("src/log/bad.c", "/* x */\n" * 1501)
    expect(tree, "src/log/bad.c:1501", "1501 lines")


def test_function_length(tree):
    tree("src/log/good.c", function(70))
    assert tidy(tree) == (0, [])
    tree("src/log/bad.c", "\n" + function(71))
    expect(tree, "src/log/bad.c:2", "71 lines")


def test_function_length_of_a_split_head(tree):
    tree("src/log/bad.c", function(71, "static int\nf(int a,\n  int b)").replace("g();", "{ }"))
    status, found = tidy(tree)
    assert status == 1 and len(found) == 1 and "function of 73 lines" in found[0]


def test_dispatch_tables_may_be_long(tree):
    tree("src/log/good.c", "/* dispatch table */\n" + function(200))
    assert tidy(tree) == (0, [])


def test_long_initialisers_and_structs_are_not_functions(tree):
    rows = "    {F(1), 2},\n" * 100
    fields = "    int (*f)(void);\n" * 100
    tree("src/log/good.c", f"const struct x table[] = {{\n{rows}}};\nstruct y {{\n{fields}}};\n")
    assert tidy(tree) == (0, [])


def test_columns(tree):
    tree("src/log/good.c", "/*" + "x" * 96 + "*/\n")
    assert tidy(tree) == (0, [])
    tree("src/log/bad.c", "/*" + "x" * 97 + "*/\n")
    expect(tree, "src/log/bad.c:1", "101 columns")


@pytest.mark.parametrize("mark", [MARK, "FIX" + "ME", "X" + "XX", "HA" + "CK"])
@pytest.mark.parametrize("path", ["src/log/bad.c", "tools/bad.py", "web/src/bad.tsx"])
def test_unfinished_marks(tree, path, mark):
    tree(path, f"\n// {mark}: later\n")
    expect(tree, f"{path}:2", "unfinished")


def test_mkstemp_patterns_are_not_marks(tree):
    tree("test/unit/log/test_good.c", 'static char name[] = "/tmp/x-XXXXXX";\n')
    assert tidy(tree) == (0, [])


@pytest.mark.parametrize("path", ["docs/bad.md", "src/log/bad.c", "tools/bad.txt"])
def test_machine_paths(tree, path):
    tree(path, f"/* {MACHINE}/x */\n")
    expect(tree, f"{path}:1", "path of one machine")


def test_blanks_tabs_and_last_lines(tree):
    tree("docs/blank.md", "a \n")
    tree("docs/end.md", "a\n\n")
    tree("docs/newline.md", "a")
    tree("src/log/tab.c", "\tint x;\n")
    tree("docs/utf8.md", b"a\n\xff\n")
    _, found = tidy(tree)
    assert [line.split(": ")[0] for line in found] == [
        "docs/blank.md:1", "docs/end.md:2", "docs/newline.md:1", "docs/utf8.md:2",
        "src/log/tab.c:1"]


@pytest.mark.parametrize("text, line", [
    ("int f(void);\n", 1),
    ("/* A contract. */\n\nint f(void);\n", 3),
    ("/* A contract. */\nint f(void);\n\nint g(void);\n", 4),
    ("struct x {\n    int a;\n};\nint f(struct x *x,\n      int b) __attribute__((cold));\n", 4),
    ("struct x *f(void);\n", 1),
    ('extern "C" {\nint f(void);\n}\n', 2)])
def test_missing_contract(tree, text, line):
    tree("src/log/bad.h", text)
    expect(tree, f"src/log/bad.h:{line}", "no contract")


@pytest.mark.parametrize("text", [
    "/* A contract. */\nint f(void);\nint g(int a,\n      int b);\nint h(void);\n",
    "int f(void); /* a contract */\n",
    "/* A struct and its calls. */\nstruct x {\n    int a;\n};\nint f(struct x *x);\n",
    "#define F(x) g(x)\n"])
def test_present_contract(tree, text):
    tree("src/log/good.h", text)
    assert tidy(tree) == (0, [])


def test_missing_readme(tree):
    tree("src/plan/plan.c", "/* x */\n")
    expect(tree, "src/plan/README.md:1", "missing")


@pytest.mark.parametrize("link", ["gone.md", "../docs/gone.md#part", "<gone.md>"])
def test_a_link_that_leads_nowhere(tree, link):
    tree("docs/a.md", f"[x](#here) [y](https://example.org/z)\nsee [it]({link})\n")
    expect(tree, "docs/a.md:2", "leads nowhere")


def test_links_that_lead_somewhere(tree):
    tree("docs/b.md", "# b\n")
    tree("docs/a.md", "[b](b.md) [c](../src/log/#x) [d](mailto:x@y)\n`[e](f)`\n"
                      "```sql\nSELECT a[1](x)\n```\n")
    assert tidy(tree) == (0, [])


def test_data_and_corpus_are_not_style(tree):
    tree("test/fuzz/corpus/json/bad.txt", f"{MARK} \n\n{MACHINE}/x")
    tree("examples/sensors/data/bad.txt", f"{MARK} \n\n")
    assert tidy(tree) == (0, [])


def test_the_named_files_only(tree):
    tree("src/log/bad.c", "\tint x;\n")
    assert tidy(tree, "src/log/thing.c") == (0, [])
    status, found = tidy(tree, "src/log/bad.c")
    assert status == 1 and len(found) == 1


def test_git_decides_what_is_read(tree):
    subprocess.run(["git", "init", "-q", str(tree.root)], check=True)
    tree(".gitignore", "/build/\n")
    tree("build/gen/bad.c", "\tint x;\n")
    assert tidy(tree) == (0, [])
    tree("docs/new.md", "a \n")
    expect(tree, "docs/new.md:1")


def test_decisions_have_numbers_of_their_own(tree):
    tree("docs/adr/0001-a.md", "# 1. A\n")
    tree("docs/adr/0002-b.md", "# 2. B\n")
    assert tidy(tree) == (0, [])
    tree("docs/adr/0002-c.md", "# 2. C\n")
    expect(tree, "docs/adr/0002-c.md:1", "has the number 2, too")


def test_a_decision_has_its_number_in_its_title(tree):
    tree("docs/adr/0003-c.md", "# 4. C\n")
    expect(tree, "docs/adr/0003-c.md:1", "does not begin with")
