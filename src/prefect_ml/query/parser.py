"""From tokens to a tree, by recursive descent."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prefect_ml.errors import InvalidFilterError
from prefect_ml.query.grammar import DATASET_KEYS, ENTITIES, Grammar
from prefect_ml.query.tokens import Token, tokenize
from prefect_ml.query.tree import Comparison, Entity, Operator, OrderBy, Value

MAX_COMPARISONS = 100
MAX_ORDER_BY = 20
MAX_ITEMS = 5000
KEY_KINDS = ("word", "number", "backtick", "double")

_LIST = "While parsing a list in the query, expected"
_CONSTANTS = ("TRUE", "FALSE", "NULL")


def parse_filter(text: str, grammar: Grammar) -> tuple[Comparison, ...]:
    """The comparisons of a filter, all of which must hold; none for an empty text.

    Raises:
        InvalidFilterError: it does not parse, or names what `grammar` does not know.
    """
    parser = _Parser(text, grammar)
    if parser.peek().kind == "end":
        return ()
    comparisons = [parser.comparison()]
    while parser.peek().kind != "end":
        parser.expect_and()
        comparisons.append(parser.comparison())
        if len(comparisons) > MAX_COMPARISONS:
            raise InvalidFilterError(f"A filter takes at most {MAX_COMPARISONS} comparisons; search for less at once.")
    return tuple(comparisons)


def parse_order_by(texts: Iterable[str], grammar: Grammar) -> tuple[OrderBy, ...]:
    """The sort keys of order-by texts such as "metrics.auc DESC".

    Raises:
        InvalidFilterError: one does not parse, or names what cannot be ordered by.
    """
    clauses = [texts] if isinstance(texts, str) else list(texts)
    if len(clauses) > MAX_ORDER_BY:
        raise InvalidFilterError(f"There are {len(clauses)} order_by clauses; give at most {MAX_ORDER_BY}.")
    return tuple(_Parser(text, grammar, what="order_by clause").order() for text in clauses)


class _Parser:
    def __init__(self, text: str, grammar: Grammar, what: str = "filter string") -> None:
        if not isinstance(text, str):
            raise InvalidFilterError(f"The {what} must be a text, not {type(text).__name__}.")
        self._text, self._grammar, self._what = text, grammar, what
        self._tokens = tokenize(text)
        self._next = 0

    def peek(self) -> Token:
        return self._tokens[self._next]

    def take(self) -> Token:
        token = self.peek()
        self._next += token.kind != "end"
        return token

    def keyword(self, word: str) -> bool:
        """Take the next token if it is that word, in any case."""
        token = self.peek()
        if token.kind == "word" and token.text.upper() == word:
            self.take()
            return True
        return False

    def expect_and(self) -> None:
        if not self.keyword("AND"):
            token = self.peek()
            raise InvalidFilterError(
                f"Invalid clause(s) in filter string: {_shown(token)}. Invalid filter string: {self._text[:200]!r}. "
                f"Expected a list of comparisons separated by 'AND' at position {token.at}."
            )

    def comparison(self) -> Comparison:
        self._refuse_constant()
        entity, key = self.identifier(self._attribute)
        operator = self.operator(entity, key)
        return Comparison(entity, key, operator, self.value(entity, key, operator))

    def _refuse_constant(self) -> None:
        """MLflow answers `key = true` with its three words, whether or not it knows the key."""
        words = self._tokens[self._next : self._next + 3]
        if [word.kind for word in words] == ["word", "operator", "word"] and words[2].text.upper() in _CONSTANTS:
            raise InvalidFilterError(
                f"Invalid clause(s) in filter string: {', '.join(word.text for word in words)}. "
                f"Expected a number or a quoted text at position {words[2].at}."
            )

    def order(self) -> OrderBy:
        first = self.peek()
        entity, key = self.identifier(self._sort_key)
        if entity == "dataset":
            raise self.error(first, "an attribute, metric, param or tag to order by")
        ascending = not self.keyword("DESC")
        if ascending:
            self.keyword("ASC")
        if self.peek().kind != "end":
            raise self.error(self.peek(), "ASC, DESC or the end")
        return OrderBy(entity, key, ascending)

    def identifier(self, attribute: Callable[[str], str]) -> tuple[Entity, str]:
        first = self.take()
        if first.kind not in KEY_KINDS:
            raise self.error(first, "an attribute, or an entity with a key such as metrics.auc")
        if self.peek().kind != "dot":
            return "attribute", attribute(first.value)
        entity = ENTITIES.get(first.value) if first.kind == "word" else None
        if entity is None or (entity != "attribute" and entity not in self._grammar.entities):
            known = sorted({"attributes", *(f"{name}s" for name in self._grammar.entities)})
            raise InvalidFilterError(f"Invalid entity type: {first.value!r}. Expected one of {known}.")
        key = self._key_after_dot()
        if entity == "dataset" and key not in DATASET_KEYS:
            raise InvalidFilterError(f"Invalid dataset key '{key}' specified. Valid keys are {list(DATASET_KEYS)}.")
        return entity, attribute(key) if entity == "attribute" else key

    def _key_after_dot(self) -> str:
        """A key, which may itself hold dots when it is not quoted."""
        self.take()
        token = self.take()
        if token.kind not in KEY_KINDS:
            raise self.error(token, "a key; quote one with spaces or signs by backticks")
        key, end = token.value, token.at + len(token.text)
        while token.kind in ("word", "number") and self.peek().kind in ("dot", "number") and self.peek().at == end:
            part = self.take()
            key, end = key + part.text, part.at + len(part.text)
            if part.kind == "dot" and self.peek().kind in ("word", "number") and self.peek().at == end:
                word = self.take()
                key, end = key + word.text, word.at + len(word.text)
        if not key:
            raise self.error(token, "a key that is not empty")
        return key

    def _attribute(self, name: str) -> str:
        found = self._grammar.aliases.get(name, name)
        if found not in self._grammar.attributes:
            valid = sorted(self._grammar.attributes)
            raise InvalidFilterError(f"Invalid attribute key '{name}' specified. Valid keys are {valid}.")
        return found

    def _sort_key(self, name: str) -> str:
        found = self._grammar.aliases.get(name, name)
        if found not in self._grammar.sortable:
            valid = sorted(self._grammar.sortable)
            raise InvalidFilterError(
                f"Invalid order_by clause {self._text[:200]!r}. Could not be parsed. "
                f"Invalid order by key '{name}' specified. Valid keys are {valid}."
            )
        return found

    def operator(self, entity: Entity, key: str) -> Operator:
        token = self.take()
        written = token.text.upper()
        if written == "NOT" and self.keyword("IN"):
            written = "NOT IN"
        written = "!=" if written == "<>" else written
        allowed = self._grammar.operators(entity, key)
        if written not in allowed:
            raise InvalidFilterError(
                f"Invalid comparison operator for {entity}s.{key}: '{token.text}'. Expected one of {allowed}."
            )
        return written

    def value(self, entity: Entity, key: str, operator: Operator) -> Value:
        numeric = "<" in self._grammar.operators(entity, key)
        if operator in ("IN", "NOT IN"):
            return self._texts()
        token = self.take()
        if numeric:
            return self._number(token, whole=entity == "attribute")
        if token.kind not in ("single", "double"):
            raise InvalidFilterError(
                "Parameter value is either not quoted or unidentified quote types used for string value "
                f"{token.text}. Use either single or double quotes."
            )
        return token.value

    def _number(self, token: Token, *, whole: bool) -> float | int:
        if token.kind != "number":
            raise self.error(token, "a number without quotes")
        number = float(token.text)
        return int(number) if whole and number.is_integer() and abs(number) < 2**63 else number

    def _texts(self) -> tuple[str, ...]:
        opening = self.take()
        if opening.kind != "open":
            raise self.error(opening, "a list such as ('a', 'b')")
        found: list[str] = []
        while self.peek().kind != "close":
            found.append(self._item(opening))
            if self.peek().kind == "comma":
                self.take()
            elif self.peek().kind != "close":
                raise self._ill_formed(self.peek())
        self.take()
        if not found:
            raise InvalidFilterError(f"{_LIST} a non-empty list of string values, but got empty list")
        if len(found) > MAX_ITEMS:
            raise InvalidFilterError(f"{_LIST} at most {MAX_ITEMS} values, but got {len(found)}; search in parts.")
        return tuple(found)

    def _item(self, opening: Token) -> str:
        token = self.take()
        if token.kind in ("word", "number", "backtick"):
            raise InvalidFilterError(
                f"{_LIST} string value, punctuation, or whitespace, but got different type in list: "
                f"{self._text[opening.at : token.at + len(token.text)][-200:]}"
            )
        if token.kind not in ("single", "double"):
            raise self._ill_formed(token)
        return token.value

    def _ill_formed(self, token: Token) -> InvalidFilterError:
        return InvalidFilterError(
            f"{_LIST} a non-empty list of string values, but got ill-formed list. Expected a quoted text, a comma or "
            f"the end of the list at position {token.at}, got {_shown(token)}."
        )

    def error(self, token: Token, expected: str) -> InvalidFilterError:
        if self._what == "order_by clause":
            return InvalidFilterError(
                f"Invalid order_by clause {self._text[:200]!r}. Could not be parsed. "
                f"Expected {expected} at position {token.at}, got {_shown(token)}."
            )
        return InvalidFilterError(
            f"Invalid clause(s) in filter string: {_shown(token)}. Expected {expected} at position {token.at}."
        )


def _shown(token: Token) -> str:
    return repr(token.text[:60]) if token.text else "the end"
