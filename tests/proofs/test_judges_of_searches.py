"""The judges of the rows about searches say no where a search only seems to keep its promise."""

from typing import Any

import pytest

from proofs.rows_overlay import judge_fallback, judge_index
from proofs.rows_overlays_live import WAYS, judge_live
from proofs.rows_search import judge_against, judge_replies
from proofs.rows_view import judge_paths

INDEX = {
    "searches": 100,
    "within_3_hops": 100,
    "found_after": 100,
    "walked_after": 3,
    "found_without": 100,
    "walked_without": 98,
    "held_without": 2,
    "wrong": 0,
}
FALLBACK = {"wanted": 100, "keys": 100, "drawn": 260, "found": 100, "found_structured": 0}
SEARCHED = {"nodes": 294, "searches": 10, "flood": 900, "walk": 300}
AGAINST = {"sparse": {**SEARCHED, "flood_found": 10, "walk_found": 10}}
REPLIES = {
    "searches": 4,
    "same": 4,
    "path_hops": 3.0,
    "direct_hops": 3.0,
    "path_replies": 9.0,
    "direct_replies": 3.0,
    "path_walks_relayed": 40,
    "direct_walks_relayed": 0,
}
PATHS = {
    "nodes": 200,
    **{f"{size}": 1.8 for size in ("20/8", "35/14")},
    **{f"{size} random": 1.8 for size in ("20/8", "35/14")},
    **{f"{size} connected": True for size in ("20/8", "35/14")},
}
LIVE: dict[str, Any] = {
    "nodes": 16,
    "nodes_unstructured": 12,
    "records": 10,
    "both": dict.fromkeys(WAYS, 10),
    "unstructured": dict.fromkeys(WAYS[1:], 10),
    "wrong": 0,
}


@pytest.mark.parametrize(
    "spoiled",
    [
        {},
        {"within_3_hops": 98},
        {"found_after": 98},
        {"found_without": 98},
        {"wrong": 1},
        {"walked_without": 0, "held_without": 100},
        {"walked_without": 97},
    ],
)
def test_without_index_nodes_what_is_found_was_walked_to(spoiled: dict[str, Any]) -> None:
    assert judge_index([{**INDEX, **spoiled}]).passed is (not spoiled)


@pytest.mark.parametrize(
    "spoiled", [{}, {"found": 99}, {"found_structured": 1}, {"keys": 99, "found": 99}]
)
def test_who_finds_it_by_lookup_has_not_fallen_back(spoiled: dict[str, Any]) -> None:
    assert judge_fallback([{**FALLBACK, **spoiled}]).passed is (not spoiled)


@pytest.mark.parametrize("spoiled", [{}, {"flood_found": 9}, {"walk_found": 9}, {"flood": 299}])
@pytest.mark.parametrize("graph", ["sparse", "own"])
def test_what_finds_nothing_is_not_cheap(graph: str, spoiled: dict[str, Any]) -> None:
    piece = {"sparse": AGAINST["sparse"], "own": AGAINST["sparse"]}
    piece[graph] = {**AGAINST["sparse"], **spoiled}
    assert judge_against([piece]).passed is (not spoiled)


@pytest.mark.parametrize(
    "spoiled", [{}, {"same": 3}, {"direct_walks_relayed": 1}, {"path_walks_relayed": 0}]
)
def test_an_answer_that_is_passed_back_did_not_come_directly(spoiled: dict[str, Any]) -> None:
    assert judge_replies([{**REPLIES, **spoiled}]).passed is (not spoiled)


@pytest.mark.parametrize(
    "spoiled", [{}, {"20/8 connected": False}, {"35/14": 2.1}, {"nodes": 10_000}]
)
def test_paths_are_those_of_one_component_at_any_size(spoiled: dict[str, Any]) -> None:
    assert judge_paths([{**PATHS, **spoiled}]).passed is (not spoiled)


@pytest.mark.parametrize("overlay", ["both", "unstructured"])
def test_every_way_counts_in_every_network(overlay: str) -> None:
    assert judge_live([LIVE]).passed
    for way in LIVE[overlay]:
        assert not judge_live([{**LIVE, overlay: {**LIVE[overlay], way: 9}}]).passed
