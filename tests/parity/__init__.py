"""PyTorch's operator database against ctorch: the same inputs through both, and a list of what does not agree
yet.

The wheel of PyTorch carries the samples by which it tests its own operators (`op_db`). `checks` runs each
through PyTorch and through an engine and compares; `bridge` carries inputs and results from one to the other;
`workers` keeps crashes and hangs apart; `gaps.txt` lists what does not pass, and can only shrink. `python -m
tests.parity` runs it from the command line, `test_op_db.py` under pytest.
"""
