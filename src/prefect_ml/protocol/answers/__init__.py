"""How each noun looks on the wire: typed dictionaries, since a thousand runs are a hundred thousand of them.

What is unset, and a list that is empty, is left out, as MLflow's clients expect.
"""
