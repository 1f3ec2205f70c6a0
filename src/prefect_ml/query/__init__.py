"""MLflow's filter and order-by language: text in, a small tree out; knows no SQL and no HTTP.

```
filter     = [ comparison { AND comparison } ]
comparison = identifier operator value | identifier [NOT] IN "(" text { "," text } [ "," ] ")"
identifier = [ entity "." ] key          key = word | `quoted` | "quoted"
order      = identifier [ ASC | DESC ]
```
"""

from prefect_ml.query.grammar import EXPERIMENTS, LOGGED_MODELS, MODEL_VERSIONS, REGISTERED_MODELS, RUNS, Grammar
from prefect_ml.query.parser import parse_filter, parse_order_by
from prefect_ml.query.tree import Comparison, OrderBy

__all__ = [
    "EXPERIMENTS",
    "LOGGED_MODELS",
    "MODEL_VERSIONS",
    "REGISTERED_MODELS",
    "RUNS",
    "Comparison",
    "Grammar",
    "OrderBy",
    "parse_filter",
    "parse_order_by",
]
