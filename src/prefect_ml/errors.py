"""Everything that prefect-ml raises on purpose.

```
PrefectMLError
├── InvalidInputError         the caller gave something that cannot be meant (ValueError)
│   ├── InvalidFilterError    a filter or order-by text that does not parse
│   ├── InvalidNameError      a name that is empty, too long or escapes its root
│   ├── ParamConflictError    a param was already set to another value
│   └── SignatureError        data does not fit a model's signature
├── NotFoundError             the named thing does not exist (LookupError)
├── AlreadyExistsError        the name is taken
├── InactiveError             the thing is deleted; restore it first
├── NoActiveRunError          log_* was called outside a tracked flow or start_run()
├── PromotionError            the promotion's state does not allow this
│   ├── ProtectedError        the alias, stage or model is protected by a policy
│   ├── NotAllowedError       this actor may not decide this request
│   └── StaleRequestError     artifact, evidence or alias changed since the request
├── StaleRevisionError        the endpoint changed since it was read
├── ArtifactError             an artifact cannot be written or read
│   ├── ArtifactConflictError a name cannot be both a file and a folder
│   └── CorruptArtifactError  bytes differ from their recorded digest
│       └── TamperedError     a record differs from what the audit log says of it
├── UntrustedModelError       loading would unpickle from an origin that is not trusted
├── JournalOffsetError        a journal batch does not start where the store stands
├── WouldWaitError            a write that may not wait would have to
├── StoreUnavailableError     the store cannot be reached; retrying may help
└── StoreVersionError         the store's schema is newer than this release
```

A message is a sentence that says what is wrong and what to do about it.
"""


class PrefectMLError(Exception):
    """Base of all errors raised on purpose."""


class InvalidInputError(PrefectMLError, ValueError):
    """The caller gave something that cannot be meant."""


class InvalidFilterError(InvalidInputError):
    """A filter or order-by text does not parse."""


class InvalidNameError(InvalidInputError):
    """A name is empty, too long, or would escape the root that it belongs to."""


class ParamConflictError(InvalidInputError):
    """A param was already set to another value; params never change."""


class SignatureError(InvalidInputError):
    """Data does not fit the model's signature."""


class NotFoundError(PrefectMLError, LookupError):
    """The named thing does not exist."""


class AlreadyExistsError(PrefectMLError):
    """The name is taken."""


class InactiveError(PrefectMLError):
    """The thing is deleted; restore it before changing it."""


class NoActiveRunError(PrefectMLError):
    """A log call was made outside a tracked flow and outside start_run()."""


class PromotionError(PrefectMLError):
    """The promotion's state does not allow this."""


class ProtectedError(PromotionError):
    """A policy protects this alias, stage or model: only an approved promotion moves it."""


class NotAllowedError(PromotionError):
    """This actor may not decide this request (not an approver, or four eyes)."""


class StaleRequestError(PromotionError):
    """The artifact, the evidence or the alias changed since the request was made."""


class StaleRevisionError(PrefectMLError):
    """Another revision of the endpoint is in force than the one that the change was made for."""


class ArtifactError(PrefectMLError):
    """An artifact cannot be written or read."""


class ArtifactConflictError(ArtifactError):
    """A name is a folder's where a file is meant, or the other way round."""


class CorruptArtifactError(ArtifactError):
    """The bytes read differ from the digest recorded when they were written."""


class TamperedError(CorruptArtifactError):
    """A record is not what the audit log says of it: someone wrote to the database by other means."""


class UntrustedModelError(PrefectMLError):
    """Loading the model would unpickle from an origin that the operator does not trust."""


class JournalOffsetError(PrefectMLError):
    """A journal batch does not start where the store stands; continue from `expected`.

    Attributes:
        expected: the offset in bytes up to which the store holds the journal.
    """

    def __init__(self, expected: int) -> None:
        super().__init__(f"The store holds this journal up to offset {expected}; send the batch that starts there.")
        self.expected = expected


class WouldWaitError(PrefectMLError):
    """The write would have to wait for another one, and was told not to; nothing was done."""


class StoreUnavailableError(PrefectMLError):
    """The store cannot be reached now; what was acknowledged stays in the journal."""


class StoreVersionError(PrefectMLError):
    """The store's schema was written by a newer release; upgrade prefect-ml."""
