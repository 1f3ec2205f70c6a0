"""All that is MLflow-shaped: its REST protocol over a store.

A route is: decode the request, call the store, encode the answer. `routes/` has one file a noun, `answers/` says how
each noun looks on the wire, and `app` puts them together.
"""
