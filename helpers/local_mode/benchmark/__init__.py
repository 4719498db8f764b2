"""Benchmark: what the federation costs beside a bare Keras loop, whole processes, one machine.

The same work is done by several *arms*, each a script in this folder that runs as a process of
its own and is timed from outside; ``python -m helpers.local_mode.benchmark`` runs them in turn.
"""
