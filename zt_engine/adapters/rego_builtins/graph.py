"""`graph.reachable_paths`, with the number of steps bounded: a dense graph has exponentially many paths."""

from __future__ import annotations

from typing import Final

from zt_engine.adapters.rego_builtins.operands import builtin, limit, refuse_operand
from zt_engine.adapters.rego_values import Key, RegoSet, Value, key_of, order

_MAX_STEPS: Final = 20_000
_MAX_DEPTH: Final = 200


class _Walk:
    def __init__(self, graph: dict[str | Key, Value]) -> None:
        self.graph = graph
        self.found: list[Value] = []
        self.steps = 0

    def edges(self, node: Value) -> list[Value] | None:
        """The neighbours; None when the node is not in the graph. What is no collection has none."""
        key = key_of(node)
        if key not in self.graph:
            return None
        edges = self.graph[key]
        return list(edges) if isinstance(edges, list | RegoSet) else []

    def follow(self, node: Value, path: list[Value], seen: frozenset[object]) -> None:
        self.steps += 1 + len(path)
        limit(self.steps, _MAX_STEPS, "steps")
        limit(len(path), _MAX_DEPTH, "nodes in a path")
        edges = self.edges(node)
        if edges is None:
            self.found.append(path)
            return
        path = [*path, node]
        if not edges:
            self.found.append(path)
            return
        seen |= {order(node)}
        for neighbour in edges:
            if order(neighbour) in seen:
                self.found.append(path)
            else:
                self.follow(neighbour, path, seen)


@builtin("graph.reachable_paths")
def reachable_paths(graph: Value, initial: Value) -> Value:
    """Every longest path from the initial nodes; a path ends before it would come back to a node it has."""
    if not isinstance(graph, dict):
        raise refuse_operand(1, "object", graph)
    if not isinstance(initial, list | RegoSet):
        raise refuse_operand(2, "one of {array, set}", initial)
    walk = _Walk(graph)
    for node in initial:
        edges = walk.edges(node)
        if edges is None:
            continue
        if not edges:
            walk.found.append([node])
        for neighbour in edges:
            walk.follow(neighbour, [node], frozenset({order(node)}))
    return RegoSet(walk.found)
