"""The laboratory: models of whole overlays, and published results made again with them.

    catalogue      what can be reproduced; light, the rest needs numpy; loading brings it
    reproduce/     a file for each paper
    findings       a published number beside ours, and the verdict; reports writes them out
    estimates      means with their intervals
    plots          pictures as data, and their drawing
    closed_forms   what theory says of hops, failures, attacks, balance

    geometries     tree, ring, hypercube and XOR: tables of up to a million nodes, greedy routing
    nearest        the nearest ids of many keys at once
    hashing        six ways to spread keys over buckets
    graphs         unstructured overlays as graphs, and what is measured of them
    searches       flood, expanding ring and random walkers on a graph that stands still

These are static: nodes have no clock, and messages no content.

    peer_sampling  Cyclon and HyParView in cycles, and broadcasts on them while nodes crash
    live           bytes and lookups of the engine that runs in production, simulated by ``dht.sim``
"""
