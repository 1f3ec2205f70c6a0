"""What a data set is, told by its shape, its schema and a sample of its content; one file a kind of data.

A digest is made of the kind of data, the number of rows, names and types of all columns, and sampled cells: at most
10,000 of them, at most 1,000 a column, at places that depend on the shape alone; of a column of long texts, no more
rows after a million characters. So a changed row count or schema always changes it, and a changed cell does when it is
sampled, which is certain up to 1,000 rows of 10 columns. What else may escape is told by the file of each kind. Equal
digests say "most likely the same data", never "proved the same".
"""

from prefect_ml.tracking.datasets.record import is_data, log_input

__all__ = ["is_data", "log_input"]
