"""One file a paper: each draws what its authors measured, and sets the numbers side by side.

A file is named after its scenario (``dht.lab.catalogue``) and has one public function,
``reproduce(effort, seed, progress)``. Effort 1.0 is what our proofs are held to; less of it draws
fewer samples and gives wider intervals of the same quantities.
"""
