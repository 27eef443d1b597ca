"""Measurements that nobody made: numbers that a test can tell apart, without a run."""

from dht.lab.experiment import ByRank, Load, Measured


def invented(seed: int, nodes: int, *, wrong: int = 0, lost: int = 0) -> Measured:
    """Of the engine; grows with the nodes and differs a little from seed to seed."""
    load = Load(mean=nodes, p99_over_mean=2.0 + seed / 10, gini=0.3)
    ranks = tuple(
        ByRank(
            first=first,
            last=last,
            copies=8.0,
            reads=50,
            success=1.0,
            hops=1.0 + seed / 10,
            messages=nodes / first,
            bytes=100.0 * nodes,
            latency_p50_s=0.1,
        )
        for first, last in ((1, 1), (2, 5))
    )
    return Measured(
        reads=100,
        found=100 - lost,
        wrong=wrong,
        lost=lost,
        written=10,
        success=0.9 + seed / 100,
        hops=1.5 + seed / 10,
        messages=float(nodes),
        bytes=100.0 * nodes,
        latency_p50_s=0.1,
        latency_p95_s=0.3,
        latency_p99_s=0.4,
        upkeep_bytes=3.0,
        load={"records": load, "messages": load, "bytes": load},
        ranks=ranks,
    )


def invented_static(seed: int, nodes: int) -> Measured:
    """Of a static model."""
    return Measured(
        reads=100,
        found=100,
        wrong=0,
        lost=0,
        written=10,
        success=1.0,
        hops=nodes / 100 + seed / 10,
    )
