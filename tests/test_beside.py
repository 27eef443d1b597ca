"""The README's comparison of lookups and searches says what was measured, and nothing else."""

from docs import beside


def test_every_way_has_its_row_and_its_bar_in_every_network() -> None:
    each = {"success": 0.5, "hops": 2.0, "messages": 40.0, "bytes": 3e3, "latency_p50_s": 0.25}
    network = {"nodes": 50, "measured": dict.fromkeys(beside.NAMES, each)}
    lines = beside.table_of([network]).splitlines()[2:]
    assert lines[0] == "| 50 | lookup | 50.0% | 2.00 | 40 | 3.0 | 250 |"
    assert len(lines) == len(beside.NAMES)
    picture = beside.draw([network, network])
    assert all(picture.count(f">{name}<") == 2 for name in beside.NAMES.values())
