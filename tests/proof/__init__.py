"""Proofs: what is promised about money and clips, tried with real processes, real files and chance from a seed.

Each proof is a module with `main(arguments) -> int`; `python -m tests.proof NAME …` runs one by hand, in any size, and
`make proof` runs them one after another. Each prints its seed and its figures, and ends with a status other than 0 at
the first violation, with what is needed to look into it. Small sizes of the same functions are tests in this folder.
"""
