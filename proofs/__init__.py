"""What we promise, each promise a row that can be run: `python -m proofs list`.

Rows live in rows_*.py, a file for each subject, and register themselves with `@row`; the machine
that runs them in pieces, keeps their results and judges them is machine.py. None of this is in
the wheel.
"""
