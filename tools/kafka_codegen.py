#!/usr/bin/python3
"""Turns src/wire/kafka/messages.schema into messages.h and messages.c.

usage: tools/kafka_codegen.py SCHEMA OUTPUT_FOLDER

The schema's own head describes its form. Every message becomes a struct and a pair of straight-line
functions, read and write, with one condition per field that not all versions have. An error names
the schema's line.
"""
import os
import re
import sys

MAX_VERSION = 32767
INTS = {"int8": (1, "int8_t"), "int16": (2, "int16_t"), "uint16": (2, "uint16_t"),
        "int32": (4, "int32_t"), "int64": (8, "int64_t"), "bool": (1, "bool")}
COUNTED = {"string": "struct str", "bytes": "struct str", "records": "struct kafka_payload"}
C_TYPES = {**{k: v[1] for k, v in INTS.items()}, **COUNTED, "uuid": "struct kafka_uuid",
           "float64": "double"}


class SchemaError(Exception):
    pass


class Field:
    def __init__(self, name, type_, low, high, default, tag):
        self.name, self.low, self.high = name, low, high
        self.default, self.tag = default, tag
        self.nullable = type_.startswith("?")
        type_ = type_.lstrip("?")
        self.array = type_.startswith("[]")
        self.type = type_[2:] if self.array else type_
        self.fields = None  # of a structure
        self.struct = None


class Message:
    def __init__(self, name, low, high, flexible):
        self.name, self.low, self.high, self.flexible = name, low, high, flexible
        self.fields = []


class Api:
    def __init__(self, key, name, low, high, flexible):
        self.key, self.name, self.low, self.high, self.flexible = key, name, low, high, flexible
        self.parts = {}


def parse_versions(text):
    match = re.fullmatch(r"(\d+)(\+|-(\d+))?", text)
    if not match:
        raise SchemaError(f"bad versions {text!r}")
    low = int(match.group(1))
    if match.group(2) == "+":
        return low, MAX_VERSION
    return low, int(match.group(3) or low)


def parse_field(words, part):
    name, type_ = words[0], words[1]
    low, high, default, tag = part.low, part.high, None, None
    for word in words[2:]:
        if word.startswith("="):
            default = int(word[1:])
        elif word.startswith("tag"):
            tag = int(word[3:])
        else:
            low, high = parse_versions(word)
    return Field(name, type_, low, high, default, tag)


def parse(path):
    apis, messages, part, stack = [], [], None, []
    api = None
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.split("#", 1)[0].rstrip()
            if not line:
                continue
            words = line.split()
            depth = (len(line) - len(line.lstrip())) // 2
            try:
                if depth == 0 and words[0] in ("api", "data"):
                    offset = 2 if words[0] == "api" else 1
                    low, high = parse_versions(words[offset + 1])
                    key = int(words[1]) if words[0] == "api" else None
                    api = Api(key, words[offset], low, high, int(words[offset + 2]))
                    apis.append(api)
                elif depth == 0 and words[0] in ("req", "res", "fields"):
                    name = api.name if words[0] == "fields" else f"{api.name}_{words[0]}"
                    part = Message("kafka_" + name, api.low, api.high, api.flexible)
                    api.parts[words[0]] = part
                    messages.append(part)
                    stack = [part.fields]
                elif depth > 0:
                    field = parse_field(words, part)
                    if depth > len(stack):
                        raise SchemaError("indented below something that is not a structure")
                    del stack[depth:]
                    stack[-1].append(field)
                    if field.type not in C_TYPES:
                        field.struct = f"{part.name}_{field.type}"
                        field.fields = []
                        stack.append(field.fields)
                else:
                    raise SchemaError(f"unknown line {words[0]!r}")
            except (SchemaError, ValueError, IndexError) as error:
                raise SystemExit(f"{path}:{number}: {error}")
    return apis, messages


def versions_of(field, message):
    return max(field.low, message.low), min(field.high, message.high)


def condition(field, message):
    """C text that is true when the version has the field; None = always, False = never."""
    low, high = versions_of(field, message)
    if low > high:
        return False
    tests = []
    if low > message.low:
        tests.append(f"v >= {low}")
    if high < message.high:
        tests.append(f"v <= {high}")
    return " && ".join(tests) or None


def compact(message):
    if message.flexible > message.high:
        return "false"
    return f"v >= {message.flexible}"


def least_value(field, message, version):
    """Fewest bytes that one value of the field (an element, if it is an array) takes."""
    flexible = version >= message.flexible
    if field.fields is not None:
        if field.nullable and not field.array:
            return 1
        return least_struct(field.fields, message, version)
    if field.type in INTS:
        return INTS[field.type][0]
    if field.type == "uuid":
        return 16
    if field.type == "float64":
        return 8
    if flexible:
        return 1
    return 2 if field.type == "string" else 4


def least_struct(fields, message, version):
    flexible = version >= message.flexible
    total = 1 if flexible else 0
    for field in fields:
        low, high = versions_of(field, message)
        if field.tag is not None or not low <= version <= high:
            continue
        if field.array:
            total += 1 if flexible else 4
        else:
            total += least_value(field, message, version)
    return total


def least_element(field, message):
    low, high = versions_of(field, message)
    return max(1, min(least_value(field, message, v) for v in range(low, high + 1)))


def b(value):
    return "true" if value else "false"


class Writer:
    def __init__(self):
        self.lines = []

    def put(self, depth, text):
        self.lines.append("    " * depth + text if text else "")

    def text(self):
        return "\n".join(self.lines) + "\n"


def struct_fields(out, name, fields, is_message=False):
    for field in fields:
        if field.fields is not None:
            struct_fields(out, field.struct, field.fields)
    out.put(0, f"struct {name} {{")
    for field in fields:
        c_type = f"struct {field.struct}" if field.struct else C_TYPES[field.type]
        if field.array:
            out.put(1, f"uint32_t n_{field.name};")
            note = "   /* NULL = null */" if field.nullable else ""
            out.put(1, f"{c_type} *{field.name};{note}")
        else:
            if field.struct and field.nullable:
                out.put(1, f"bool has_{field.name};   /* false = null */")
            out.put(1, f"{c_type} {field.name};")
    if is_message and not fields:
        out.put(1, "char unused;")
    out.put(0, "};")
    out.put(0, "")


def read_scalar(field, message):
    if field.type in COUNTED:
        return f"kafka_read_{field.type}(r, {compact(message)}, {b(field.nullable)})"
    return f"kafka_read_{field.type}(r)"


def read_value(out, depth, field, message):
    place = f"out->{field.name}"
    if field.array:
        size = f"sizeof *{place}"
        out.put(depth, f"{place} = kafka_read_array(r, {compact(message)}, {b(field.nullable)}, "
                       f"{least_element(field, message)}, {size}, &out->n_{field.name});")
        out.put(depth, f"for (uint32_t i = 0; i < out->n_{field.name} && r->failed == NULL; i++)")
        if field.fields is not None:
            out.put(depth + 1, f"{field.struct}_read(r, v, &{place}[i]);")
        else:
            element = Field(field.name, field.type, 0, 0, None, None)
            out.put(depth + 1, f"{place}[i] = {read_scalar(element, message)};")
    elif field.fields is not None:
        if field.nullable:
            out.put(depth, f"out->has_{field.name} = kafka_read_int8(r) >= 0;")
            out.put(depth, f"if (out->has_{field.name})")
            depth += 1
        out.put(depth, f"{field.struct}_read(r, v, &{place});")
    else:
        out.put(depth, f"{place} = {read_scalar(field, message)};")


def default_text(value):
    if value == -2147483648:
        return "INT32_MIN"
    return str(value)


def function_read(out, name, fields, message, static):
    for field in fields:
        if field.fields is not None:
            function_read(out, field.struct, field.fields, message, True)
    prefix = "static void" if static else "void"
    out.put(0, f"{prefix} {name}_read(struct kafka_reader *r, int16_t v, struct {name} *out)")
    out.put(0, "{")
    out.put(1, "*out = (struct %s){0};" % name)
    out.put(1, "(void)v;")
    for field in fields:
        test = condition(field, message)
        if field.default and (test or field.tag is not None):
            out.put(1, f"out->{field.name} = {default_text(field.default)};")
        if field.tag is not None or test is False:
            continue
        if test:
            out.put(1, f"if ({test}) {{")
            read_value(out, 2, field, message)
            out.put(1, "}")
        else:
            read_value(out, 1, field, message)
    read_tags(out, fields, message)
    out.put(0, "}")
    out.put(0, "")


def read_tags(out, fields, message):
    if message.flexible > message.high:
        return
    tagged = [field for field in fields if field.tag is not None]
    out.put(1, f"if ({compact(message)})" + (" {" if tagged else ""))
    if not tagged:
        out.put(2, "kafka_skip_tags(r);")
        return
    out.put(2, "for (uint32_t n = kafka_read_uvarint(r); n > 0 && r->failed == NULL; n--) {")
    out.put(3, "const char *end;")
    out.put(3, "uint32_t tag = kafka_tag_begin(r, &end);")
    out.put(3, "const char *value_end = r->end;")
    for i, field in enumerate(tagged):
        out.put(3, f"{'else ' if i else ''}if (tag == {field.tag}) {{")
        read_value(out, 4, field, message)
        out.put(3, "}")
    out.put(3, "kafka_tag_end(r, value_end, end);")
    out.put(2, "}")
    out.put(1, "}")


def write_value(out, depth, field, message):
    place = f"in->{field.name}"
    if field.array:
        null = f"{place} == NULL" if field.nullable else "false"
        out.put(depth, f"kafka_write_count(w, {compact(message)}, {null}, in->n_{field.name});")
        out.put(depth, f"for (uint32_t i = 0; i < in->n_{field.name}; i++)")
        element = Field(field.name, field.type, 0, 0, None, None)
        element.struct, element.fields = field.struct, field.fields
        write_scalar(out, depth + 1, element, message, place + "[i]")
    else:
        if field.struct and field.nullable:
            out.put(depth, f"kafka_write_int8(w, in->has_{field.name} ? 1 : -1);")
            out.put(depth, f"if (in->has_{field.name})")
            depth += 1
        write_scalar(out, depth, field, message, place)


def write_scalar(out, depth, field, message, place):
    if field.fields is not None:
        out.put(depth, f"{field.struct}_write(w, v, &{place});")
    elif field.type in COUNTED:
        ref = "&" if field.type == "records" else ""
        out.put(depth, f"kafka_write_{field.type}(w, {compact(message)}, {b(field.nullable)}, "
                       f"{ref}{place});")
    else:
        out.put(depth, f"kafka_write_{field.type}(w, {place});")


def is_set(field):
    place = f"in->{field.name}"
    if field.array:
        return f"in->n_{field.name} != 0"
    if field.type in COUNTED:
        return f"{place}.ptr != NULL"
    if field.type == "uuid":
        return f"!kafka_uuid_is_zero(&{place})"
    return f"{place} != {default_text(field.default or 0)}"


def write_tags(out, fields, message):
    if message.flexible > message.high:
        return
    tagged = [field for field in fields if field.tag is not None]
    out.put(1, f"if ({compact(message)}) {{")
    if tagged:
        count = " + ".join(f"({is_set(field)} ? 1u : 0u)" for field in tagged)
        out.put(2, f"kafka_write_uvarint(w, {count});")
        for field in sorted(tagged, key=lambda f: f.tag):
            out.put(2, f"if ({is_set(field)}) {{")
            out.put(3, "size_t from = w->out->len;")
            write_value(out, 3, field, message)
            out.put(3, f"kafka_write_tag(w, {field.tag}, from);")
            out.put(2, "}")
    else:
        out.put(2, "kafka_write_uvarint(w, 0);")
    out.put(1, "}")


def function_write(out, name, fields, message, static):
    for field in fields:
        if field.fields is not None:
            function_write(out, field.struct, field.fields, message, True)
    prefix = "static void" if static else "void"
    out.put(0, f"{prefix} {name}_write(struct kafka_writer *w, int16_t v, "
               f"const struct {name} *in)")
    out.put(0, "{")
    out.put(1, "(void)v;")
    out.put(1, "(void)in;")
    for field in fields:
        test = condition(field, message)
        if field.tag is not None or test is False:
            continue
        if test:
            out.put(1, f"if ({test}) {{")
            write_value(out, 2, field, message)
            out.put(1, "}")
        else:
            write_value(out, 1, field, message)
    write_tags(out, fields, message)
    out.put(0, "}")
    out.put(0, "")


def header_text(apis, messages):
    out = Writer()
    out.put(0, "/* Generated by tools/kafka_codegen.py from src/wire/kafka/messages.schema. */")
    out.put(0, "#ifndef TIDEMILL_WIRE_KAFKA_MESSAGES_H")
    out.put(0, "#define TIDEMILL_WIRE_KAFKA_MESSAGES_H")
    out.put(0, "")
    out.put(0, '#include "wire/kafka/codec.h"')
    out.put(0, "")
    out.put(0, "enum kafka_key {")
    for api in apis:
        if api.key is not None:
            out.put(1, f"KAFKA_{api.name.upper()} = {api.key},")
    out.put(0, "};")
    out.put(0, "")
    for message in messages:
        struct_fields(out, message.name, message.fields, True)
        out.put(0, f"void {message.name}_read(struct kafka_reader *r, int16_t v, "
                   f"struct {message.name} *out);")
        out.put(0, f"void {message.name}_write(struct kafka_writer *w, int16_t v, "
                   f"const struct {message.name} *in);")
        out.put(0, "")
    out.put(0, "/* A message whose type is only known at run time. */")
    out.put(0, "struct kafka_codec {")
    out.put(1, "size_t size;")
    out.put(1, "const struct kafka_shape *shape;")
    out.put(1, "void (*read)(struct kafka_reader *r, int16_t v, void *out);")
    out.put(1, "void (*write)(struct kafka_writer *w, int16_t v, const void *in);")
    out.put(0, "};")
    out.put(0, "struct kafka_api_codec {")
    out.put(1, "struct kafka_api api;")
    out.put(1, "struct kafka_codec request, response;")
    out.put(0, "};")
    out.put(0, "")
    keyed = [api for api in apis if api.key is not None]
    out.put(0, f"enum {{ KAFKA_APIS = {len(keyed)} }};")
    out.put(0, "/* Every API with a codec, sorted by key. */")
    out.put(0, "extern const struct kafka_api_codec kafka_api_codecs[KAFKA_APIS];")
    out.put(0, "")
    out.put(0, "#endif")
    return out.text()


def shape_text(out, name, fields):
    """The fields of a structure as data."""
    for field in fields:
        if field.fields is not None:
            shape_text(out, field.struct, field.fields)
    out.put(0, f"static const struct kafka_field {name}_fields[] = {{")
    for field in fields:
        count = f"offsetof(struct {name}, n_{field.name})" if field.array else "0"
        shape = f"&{field.struct}_shape" if field.struct else "NULL"
        kind = "STRUCT" if field.struct else field.type.upper()
        out.put(1, f'{{"{field.name}", KAFKA_FIELD_{kind}, {b(field.array)}, '
                   f"offsetof(struct {name}, {field.name}), {count}, "
                   f"{default_text(field.default or 0)}, {shape}}},")
    if not fields:
        out.put(1, '{"", KAFKA_FIELD_BOOL, false, 0, 0, 0, NULL},')
    out.put(0, "};")
    out.put(0, f"static const struct kafka_shape {name}_shape = {{")
    out.put(1, f"sizeof(struct {name}), {len(fields)}, {name}_fields}};")


def codec_literal(message):
    return (f"{{sizeof(struct {message.name}), &{message.name}_shape, {message.name}_read_any, "
            f"{message.name}_write_any}}")


def source_text(apis, messages):
    out = Writer()
    out.put(0, "/* Generated by tools/kafka_codegen.py from src/wire/kafka/messages.schema. */")
    out.put(0, '#include "wire/kafka/messages.h"')
    out.put(0, "")
    for message in messages:
        function_read(out, message.name, message.fields, message, False)
        function_write(out, message.name, message.fields, message, False)
    keyed = sorted((api for api in apis if api.key is not None), key=lambda api: api.key)
    for api in keyed:
        for part in ("req", "res"):
            name = api.parts[part].name
            shape_text(out, name, api.parts[part].fields)
            out.put(0, f"static void {name}_read_any(struct kafka_reader *r, int16_t v, void *out)")
            out.put(0, "{")
            out.put(1, f"{name}_read(r, v, out);")
            out.put(0, "}")
            out.put(0, f"static void {name}_write_any(struct kafka_writer *w, int16_t v, "
                       "const void *in)")
            out.put(0, "{")
            out.put(1, f"{name}_write(w, v, in);")
            out.put(0, "}")
    out.put(0, "const struct kafka_api_codec kafka_api_codecs[KAFKA_APIS] = {")
    for api in keyed:
        out.put(1, f'{{{{{api.key}, {api.low}, {api.high}, {api.flexible}, "{api.name}"}},')
        out.put(1, f" {codec_literal(api.parts['req'])},")
        out.put(1, f" {codec_literal(api.parts['res'])}}},")
    out.put(0, "};")
    return out.text()


def write_file(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    apis, messages = parse(sys.argv[1])
    folder = sys.argv[2]
    write_file(os.path.join(folder, "messages.h"), header_text(apis, messages))
    write_file(os.path.join(folder, "messages.c"), source_text(apis, messages))


if __name__ == "__main__":
    main()
