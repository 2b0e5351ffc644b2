"""Generated SQL as trees, so that what differs can be made smaller.

A node is a list of texts and nodes, and what may stand in its place: smaller nodes or texts of the
same kind ("" where the part may be left out). Whether a replacement makes sense is asked of
PostgreSQL, not known here.
"""


class Node:
    """One part of a statement. `type` is that of an expression, None for all else."""

    __slots__ = ("parts", "smaller", "type")

    def __init__(self, parts, smaller=(), type_=None):
        self.parts = list(parts)
        self.smaller = list(smaller)
        self.type = type_

    def __str__(self):
        return "".join(map(str, self.parts))


def expression(type_, *parts):
    """An expression; operands of its type, and those of constants, may replace it."""
    inner = [part for part in parts if isinstance(part, Node) and part.type == type_]
    return Node(parts, inner, type_)


def joined(nodes, separator):
    """Nodes with a separator; of several, all but one may be left out, one at a time."""
    nodes = list(nodes)
    if len(nodes) < 2:
        return Node(nodes)
    parts = []
    for i, node in enumerate(nodes):
        parts += [separator, node] if i else [node]
    without = [nodes[:i] + nodes[i + 1:] for i in range(len(nodes))]
    return Node(parts, [Lazy(rest, separator) for rest in without])


class Lazy:
    """A list that becomes a node when it is used, so that lists of lists stay small."""

    __slots__ = ("nodes", "separator")

    def __init__(self, nodes, separator):
        self.nodes, self.separator = nodes, separator

    def node(self):
        return joined(self.nodes, self.separator)


def optional(*parts):
    """A clause that may be left out."""
    return Node(parts, [""])


def replacements(root):
    """Every tree that has one part replaced by a smaller one, largest parts first."""
    queue = [((), root)]
    while queue:
        path, node = queue.pop(0)
        for candidate in node.smaller:
            by = candidate.node() if isinstance(candidate, Lazy) else candidate
            yield replaced(root, path, by)
        for i, part in enumerate(node.parts):
            if isinstance(part, Node):
                queue.append(((*path, i), part))


def replaced(root, path, by):
    """The tree with the part at `path` replaced."""
    if not path:
        return by if isinstance(by, Node) else Node([by])
    copy = Node(root.parts, root.smaller, root.type)
    copy.parts[path[0]] = replaced(root.parts[path[0]], path[1:], by)
    return copy


def shrink(thing, candidates, fails, trials):
    """The smallest thing found that still fails, by at most `trials` questions."""
    found = True
    while found:
        found = False
        for candidate in candidates(thing):
            if trials <= 0:
                return thing
            trials -= 1
            if len(str(candidate)) < len(str(thing)) and fails(candidate):
                thing, found = candidate, True
                break
    return thing
