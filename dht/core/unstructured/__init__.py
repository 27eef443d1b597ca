"""The unstructured overlay: who knows whom by chance, and searches that go from hand to hand."""
